"""From prompts to a run folder: what to run, in which batches, into which files."""
