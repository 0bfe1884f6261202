"""Contrasts on the corpus: which neurons tell positions A from positions B."""
