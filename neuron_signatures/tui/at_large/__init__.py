"""What weights and the corpus say about a neuron, in the terminal."""
