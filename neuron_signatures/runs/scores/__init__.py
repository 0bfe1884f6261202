"""Scores of explanations in a run folder: an append-only log per set and scorer, its table, and its reader."""
