"""The tokens of a run: which are counted, which are functional, their codes, and the token for a word."""
