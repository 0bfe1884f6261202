"""Parts of the view *Skills*."""
