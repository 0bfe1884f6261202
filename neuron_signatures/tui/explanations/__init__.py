"""What the browser shows of explanations: of one neuron, and the list of all."""
