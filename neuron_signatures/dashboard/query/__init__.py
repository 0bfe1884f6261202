"""Components of the Query page."""
