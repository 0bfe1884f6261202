"""Scores of predictions, with intervals, and the scorer that takes them from a simulator."""
