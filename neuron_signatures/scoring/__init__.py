"""How well an explanation predicts the activations of a neuron."""
