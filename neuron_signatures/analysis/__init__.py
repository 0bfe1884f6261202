"""Which neurons matter, for what, and how far that can be trusted: activations in, tables out."""
