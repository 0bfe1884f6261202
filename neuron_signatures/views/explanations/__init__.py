"""What a run's explanations of neurons say, as plain values for both viewers."""
