"""Groups of neurons with similar roles in a circuit, names of neurons and groups, positions of aligned prompts."""
