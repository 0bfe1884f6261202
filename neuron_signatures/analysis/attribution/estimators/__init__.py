"""The methods that score a neuron's influence on a target."""
