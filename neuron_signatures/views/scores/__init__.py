"""What a run's scores of explanations say, as plain values for both viewers."""
