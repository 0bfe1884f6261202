"""What the records of a corpus say of a neuron, as plain values for both viewers."""
