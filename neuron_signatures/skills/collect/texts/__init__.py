"""Labelled texts: from files or the demo world to token ids."""
