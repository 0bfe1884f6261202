"""The Neuron view on the records of a corpus."""
