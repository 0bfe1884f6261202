"""Circuits in the neuron basis (arXiv 2601.22594): direct edges, pruning, total effects, groups, tests."""
