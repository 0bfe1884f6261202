"""Stage 2: ranks the neurons of a run by peaks and influence, validates rankings, computes signatures."""
