"""What each neuron's peaks have in common across prompts: the work of `--mode signatures`."""
