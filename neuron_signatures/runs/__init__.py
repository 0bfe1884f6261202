"""The run folder: what is in it, and the only code that knows the names of its files."""
