"""A section of the report. Later stages add one as a function in `sections.SECTIONS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.reporting.html import Html


@dataclass(frozen=True)
class Section:
    """Its heading, how to read it, and its content."""

    id: str
    """Of the anchor."""
    title: str
    lead: Html
    """One or two sentences: what it shows and how to read it."""
    body: Sequence[Html] = ()
    in_short: Sequence[Html] = ()
    """Sentences for the summary at the top."""
