"""The parts of the Ranking page."""
