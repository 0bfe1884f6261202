"""Answers of a causal language model in this process to conversations."""
