"""What is changed: neurons, prompts, positions, and how two prompts correspond."""
