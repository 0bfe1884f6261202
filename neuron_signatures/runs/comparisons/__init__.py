"""`comparisons/` of a run: how its neurons differ from those of other runs."""
