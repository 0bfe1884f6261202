"""Neurons in clusters: by activations, output weights or strongest windows; how stable they are, and what they do."""
