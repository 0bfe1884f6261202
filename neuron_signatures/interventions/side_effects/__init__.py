"""What an edit does to texts that have nothing to do with its target."""
