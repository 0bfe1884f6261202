"""The search index in a run folder."""
