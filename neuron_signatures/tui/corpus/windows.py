"""Windows of a corpus as rows: one line around the peak, or the whole text, coloured by activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuron_signatures.tui.layout.coloured import Coloured, flowing, on_one_line
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    RowTable,
    Span,
    beginning,
    line,
    number,
    sign_style,
    token_text,
)

_MOST_LINES = 400
"""Lines of one whole window."""
_INDENT = 4
