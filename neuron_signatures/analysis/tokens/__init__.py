"""The tokens of a run: which count, what they mean, functional or not, a user's word as one token."""
