"""The folder `search/` of a run: its files, and what is searched."""

from __future__ import annotations

from typing import Final, Literal, get_args

SEARCH: Final = "search"
"""The stage folder, and the only mode: its record is `search_meta.json`."""
STAGE: Final = "search_neurons"
WORDS: Final = "words.sqlite"
"""The texts, each once, and their full-text index."""
ROWS: Final = "rows.safetensors"
"""Which pole of which neuron each text is about."""
VECTORS: Final = "vectors.safetensors"
"""A unit vector of each text; absent without an embedder."""

By = Literal["meaning", "words", "token"]
BYS: Final[tuple[By, ...]] = get_args(By)
Kind = Literal["explanation", "exemplar"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""In the order of the codes in the rows."""

PER_TEXT: Final = 5
"""Hits of one text: many neurons share a window, and one window should not be all that is found."""

INDEX_COMMAND: Final = f"python -m neuron_signatures.{STAGE} index"
WRITES_COMMAND: Final = "python -m neuron_signatures.poc2_analyze_run --mode write_scores"
