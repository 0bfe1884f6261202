"""What the pages read and compute, cached by the files it was read from."""
