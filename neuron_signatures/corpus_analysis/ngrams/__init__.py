"""Reverse queries: tokens, bigrams and trigrams of the corpus to neurons and clusters, and back."""
