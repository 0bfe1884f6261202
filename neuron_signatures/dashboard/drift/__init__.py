"""Parts of the view *Drift*."""
