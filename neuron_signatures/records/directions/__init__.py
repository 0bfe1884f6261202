"""Making directions files: chance, principal and independent components, and rows of sparse autoencoders."""
