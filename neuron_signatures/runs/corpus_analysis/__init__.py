"""`corpus_analysis/` of a run: what its records of a corpus say about neurons together."""
