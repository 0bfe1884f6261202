"""The browser's tables as lines of text, without Textual."""
