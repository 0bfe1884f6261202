"""The files of language model requests in a run folder: every answer as it arrived, and what was paid."""
