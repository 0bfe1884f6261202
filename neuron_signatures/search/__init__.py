"""Making the search index of a run, and asking it by meaning."""
