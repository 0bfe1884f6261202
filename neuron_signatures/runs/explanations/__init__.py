"""Explanations of neurons in a run folder: an append-only log per set, its reader, and what people add to it."""
