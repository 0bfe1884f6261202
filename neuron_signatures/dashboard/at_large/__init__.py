"""What weights and the corpus say about one neuron, on its page."""
