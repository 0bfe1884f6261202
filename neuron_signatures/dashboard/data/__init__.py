"""Cached reads and computations for the pages; cache keys are file stamps."""
