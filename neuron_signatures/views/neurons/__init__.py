"""What the results of a run say about neurons."""
