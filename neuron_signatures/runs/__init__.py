"""The run folder. Only this package knows the names of its files."""
