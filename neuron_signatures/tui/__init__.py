"""The terminal browser: what is shown is computed and laid out without Textual; the widgets only put it there."""
