"""Scorers that run the model that the explanations are about: generation, intervention and fade."""
