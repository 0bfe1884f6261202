"""The corpus of the records: where documents come from, how they become windows of tokens, and blocks of windows."""
