"""`weights/` of a run: what the weights alone say about each neuron."""
