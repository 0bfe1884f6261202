"""Contrasts: which neurons tell two sets of prompts or positions apart."""
