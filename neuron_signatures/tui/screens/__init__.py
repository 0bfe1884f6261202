"""The browser's screens: widgets, keys and messages."""
