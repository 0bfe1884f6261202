"""Several meanings of a neuron: groups of its strongest windows, beside windows of random neurons."""
