"""Computes the records of a corpus: its documents as tokens, and what every neuron does on them."""
