"""The parts of the Signatures page."""
