"""How strongly each neuron fires, and on which tokens: the work of `--mode peaks`."""
