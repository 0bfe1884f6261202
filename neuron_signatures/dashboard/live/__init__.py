"""The view Live: a text, the neurons that fire on it, and what editing them changes, from a server with the model."""
