"""Stage 8: what the weights alone say about each neuron, and which neurons have nearly the same weights."""
