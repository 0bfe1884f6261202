"""The HTTP API: a live model and the runs of a folder."""
