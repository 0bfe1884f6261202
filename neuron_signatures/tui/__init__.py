"""The terminal browser. Text is computed and laid out without Textual; the widgets only show it."""
