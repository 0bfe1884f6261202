"""Components of the Ranking page."""
