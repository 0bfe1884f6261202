"""Checking what the files of an index hold; sizes and checksums are checked for every stage folder alike."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.search.names import VECTORS
from neuron_signatures.runs.search.record import read_search
from neuron_signatures.runs.search.texts import checked_file, read_texts
from neuron_signatures.runs.search.vectors import read_vectors


def search_faults(run_dir: Path) -> list[str]:
    """What is wrong with the index, one line each; nothing without an index."""
    try:
        found = read_search(run_dir)
    except UsageError:
        return []
    except BadRunError as e:
        return [e.line()]
    try:
        texts = read_texts(run_dir, found)
        texts.conn.close()
        if (model := found.facts.embedder) is not None:
            read_vectors(checked_file(run_dir, found.record, VECTORS), found.facts.n_texts, model.dimensions)
    except BadRunError as e:
        return [e.line()]
    return []
