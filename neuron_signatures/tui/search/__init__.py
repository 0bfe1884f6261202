"""Search in explanations, exemplars and written tokens."""
