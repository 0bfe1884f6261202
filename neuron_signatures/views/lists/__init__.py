"""The ranked lists of a run, and how well a validation rates them."""
