"""Components of the Neuron page."""
