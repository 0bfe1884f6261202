"""Explanations of neurons in the explorer: those of one neuron, what people add to them, and the list of all."""
