"""The neurons that are most like a neuron: by their activations on the corpus, and by their strongest windows."""
