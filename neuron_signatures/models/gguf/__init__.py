"""GGUF files: what they hold, which are refused, and their conversion into a model folder."""
