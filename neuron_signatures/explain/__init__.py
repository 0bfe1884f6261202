"""Explanations of neurons in words, from the records of a corpus."""
