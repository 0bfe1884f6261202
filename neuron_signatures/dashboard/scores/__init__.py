"""Scores of explanations in the explorer: those of one neuron, and over neurons."""
