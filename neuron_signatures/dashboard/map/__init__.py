"""Components of the Map page."""
