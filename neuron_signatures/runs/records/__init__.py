"""Records of a corpus in a run folder: the corpus, what every neuron did on it, and their reader (no torch)."""
