"""Components of the Signatures page."""
