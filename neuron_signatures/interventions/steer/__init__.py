"""Stage 3, mode steer: the response of a prediction, and of generated text, to growing changes."""
