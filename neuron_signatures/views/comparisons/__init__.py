"""Comparisons of a run with others, as the explorer and the report show them."""
