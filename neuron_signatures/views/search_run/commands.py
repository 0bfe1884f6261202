"""What can be searched in a run, and the commands that make what is missing, for viewers to show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.search.hits import Contents
from neuron_signatures.runs.search.names import INDEX_COMMAND, WRITES_COMMAND
from neuron_signatures.views.explanations.reading import has_explanations
from neuron_signatures.views.records.commands import has_records, records_command
from neuron_signatures.views.search_run.asked import Way


class Missing(NamedTuple):
    """What a way of searching lacks, as a sentence, and the command that makes it."""

    what: str
    command: str

    @property
    def line(self) -> str:
        return f"{self.what} Run `{self.command}`"


def index_command(run_dir: Path) -> str:
    """Makes the index of explanations and exemplars, for searches by words and by meaning."""
    return shlex.join([*shlex.split(INDEX_COMMAND), "--run_dir", str(run_dir), "--embedder", "minilm"])


def writes_command(run_dir: Path) -> str:
    """Makes the write scores of every neuron."""
    return shlex.join([*shlex.split(WRITES_COMMAND), "--run_dir", str(run_dir)])


def missing(contents: Contents, run_dir: Path) -> Mapping[Way, Missing]:
    """The ways that cannot be used yet. A search by meaning needs a server too, which is not looked for here.

    Without an index, explanations are searched by words.
    """
    found: dict[Way, Missing] = {}
    if not contents.n_explanations and not contents.n_exemplars and not has_explanations(run_dir):
        found["words"] = _no_texts(run_dir)
    if contents.embedder is None:
        found["meaning"] = found.get("words") or _no_vectors(contents, run_dir)
    if not contents.has_tokens:
        found["promotes"] = found["suppresses"] = Missing("There are no write scores yet.", writes_command(run_dir))
    return found


def _no_texts(run_dir: Path) -> Missing:
    if not has_records(run_dir):
        what = "There are no explanations and no exemplars yet: both come from records of a corpus."
        return Missing(what, records_command(run_dir))
    return Missing("There are no explanations yet, and the exemplars are not indexed.", index_command(run_dir))


def _no_vectors(contents: Contents, run_dir: Path) -> Missing:
    what = "The search index has no vectors." if contents.has_index else "There is no search index yet."
    return Missing(what, index_command(run_dir))
