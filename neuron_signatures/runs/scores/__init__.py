"""Scores of explanations in a run folder: `scores/`."""
