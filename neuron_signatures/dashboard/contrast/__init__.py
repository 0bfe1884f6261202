"""Parts of the Contrast view."""
