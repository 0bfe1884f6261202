"""What a neuron writes, without a prompt: reading the tables of `--mode write_scores`.

The table of neurons has a row group per layer, so one neuron needs one layer's columns. Tokens are a second table,
which is kept in memory.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.result_records import WritesRecord, another_dump, read_record
from neuron_signatures.runs.results import (
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    result_path,
    table_name,
    write_column,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import iter_arrow
from neuron_signatures.runs.written import TokenTexts, check_types, read_token_texts
from neuron_signatures.views.changes import Stamp, stamp
from neuron_signatures.views.coords import NeuronAt


class Written(NamedTuple):
    """A token and the effect of the neuron on its logit."""

    token: str
    token_id: int
    score: float


class WriteScores(NamedTuple):
    """The tokens that one neuron promotes and suppresses, measured at one position of one prompt.

    From the weights alone if `prompt_id` is None: `pos` and `activation` are None too, and scores of different layers
    are in different units.
    """

    source: str
    """Stem of the result that contains them."""
    prompt_id: str | None
    pos: int | None
    unit: str
    activation: float | None
    promotes: list[Written]
    suppresses: list[Written]


def writes_of(run_dir: Path, at: NeuronAt) -> WriteScores | None:
    """What a neuron writes according to the weights; None if that has not been computed for it.

    Raises `BadRunError` for damaged files.
    """
    try:
        record = read_record(run_dir, WRITES_META, WritesRecord)
        row = _row(run_dir, record.top, at)
        if row is None:
            return None
        sides = [_side(run_dir, row, side, record.top) for side in WRITE_SIDES]
    except UsageError:
        return None
    return WriteScores(WRITES, None, None, record.unit, None, *sides)


def writes_doubt(run: Run) -> str:
    """How the dump that they were made from differs from the run's; empty if it does not, or there are none."""
    try:
        return another_dump(run.manifest, read_record(run.path, WRITES_META, WritesRecord))
    except ProjectError:
        return ""


def _row(run_dir: Path, top: int, at: NeuronAt) -> dict[str, Any] | None:
    import pyarrow.compute as pc

    kinds = {"layer": "integer", "neuron": "integer"}
    for side in WRITE_SIDES:
        for rank in range(top):
            kinds[write_column(side, "id", rank)] = "integer"
            kinds[write_column(side, "score", rank)] = "floating"
    for batch in iter_arrow(run_dir, WRITES, columns=tuple(kinds), layer=at.layer):
        check_types(batch.schema, kinds)
        mine = pc.and_(pc.equal(batch["layer"], at.layer), pc.equal(batch["neuron"], at.neuron))
        if found := batch.filter(mine).to_pylist():
            row: dict[str, Any] = found[0]
            return row
    return None


def token_texts(run_dir: Path) -> TokenTexts:
    """The texts of the token ids in that table; cached until the file changes."""
    return _tokens(run_dir, stamp(result_path(run_dir, table_name(WRITES_TOKENS))))


def _side(run_dir: Path, row: dict[str, Any], side: str, top: int) -> list[Written]:
    """The tokens of one side; those without a score are left out."""
    tokens = token_texts(run_dir)
    found = []
    for rank in range(top):
        token_id, score = row[write_column(side, "id", rank)], row[write_column(side, "score", rank)]
        if token_id is not None and score is not None and np.isfinite(score):
            found.append(Written(tokens.text(token_id), token_id, score))
    return found


@lru_cache(maxsize=2)
def _tokens(run_dir: Path, _: Stamp) -> TokenTexts:
    return read_token_texts(run_dir)
