"""Runs read for the API: opened once, kept while their files are the same, and never written."""
