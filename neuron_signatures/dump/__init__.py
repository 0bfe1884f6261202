"""Stage 1: from prompts to a run folder."""
