"""Scorers that show windows to a judge: detection, fuzzing and surprisal."""
