"""Parts of the view *Weights*."""
