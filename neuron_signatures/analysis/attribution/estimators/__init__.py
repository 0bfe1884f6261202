"""One module per way to score a neuron's influence on a target."""
