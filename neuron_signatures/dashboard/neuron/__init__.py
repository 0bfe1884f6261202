"""The parts of the Neuron page."""
