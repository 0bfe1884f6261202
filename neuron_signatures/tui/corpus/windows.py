"""Windows of a corpus as rows: one line around the peak, or the whole text, coloured by activation."""

from __future__ import annotations

_MOST_LINES = 400
"""Lines of one whole window."""
_INDENT = 4
