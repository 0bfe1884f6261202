"""Mean and standard deviation of neurons over the run's records of a corpus, for `--reference records`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

PART: Final[Part] = "explain"
"""The part whose documents are used: `select` is for choices, and `report` for final scores."""
_WHERE = "--reference records"
_MAKE = "Make them with `python -m neuron_signatures.poc4_extract_records`"
_OF_MODEL = ("model_name", "model_revision", "weights_fingerprint", "n_layers", "d_mlp")


@dataclass(frozen=True)
class RecordsSource:
    """Which records moments are from. `model_dtype` is the precision in which the corpus was run."""

    part: Part
    corpus_sha256: str
    created_at_utc: str
    model_dtype: str

    @property
    def label(self) -> str:
        """Part of the file names of results."""
        return f"records-{self.corpus_sha256[:8]}"

    def text(self, n_tokens: int) -> str:
        return f"{n_tokens} tokens of the corpus records, part {self.part}"


class CorpusMoments(NamedTuple):
    """Moments over the counted positions of `PART`, one row per requested layer.

    `n_tokens` is the smallest count of a neuron: a window with a value that is not finite is left out in its layer.
    """

    mean: Float64[np.ndarray, "layer neuron"]
    std: Float64[np.ndarray, "layer neuron"]
    n_tokens: int
    source: RecordsSource


def corpus_moments(run: Run, layers: Sequence[int]) -> CorpusMoments:
    """The moments of all neurons of these layers.

    Raises `UsageError` if the run has no finished records, or records of another model, without one of the layers, or
    with a neuron that has no values; `BadRunError` if they are damaged.
    """
    if not Records.exist(run.path):
        next_step = f"{_MAKE}, or use mean, or run:DIR of a larger run"
        raise UsageError("the run has no records of a corpus", where=_WHERE, next_step=next_step)
    with Records.open(run.path) as records:
        _check(run, records, layers)
        found = [records.layer_moments(layer, parts=[PART]) for layer in layers]
        meta = records.meta
    count = np.stack([f.count for f in found])
    if n := int((count == 0).sum()):
        what = f"the records have no values of {n} neurons in part {PART}"
        raise UsageError(what, where=_WHERE, next_step="Make records of a larger corpus, or use mean or zero")
    source = RecordsSource(PART, meta.corpus_sha256, meta.created_at_utc, meta.model_dtype)
    return CorpusMoments(np.stack([f.mean for f in found]), np.stack([f.std for f in found]), int(count.min()), source)


def _check(run: Run, records: Records, layers: Sequence[int]) -> None:
    here = {name: getattr(run.manifest, name) for name in (*_OF_MODEL, "tokenizer_sha256")}
    there = {name: getattr(records.meta, name) for name in _OF_MODEL}
    there["tokenizer_sha256"] = records.corpus.meta.tokenizer_sha256
    known = [name for name in here if here[name] is not None and there[name] is not None]
    wrong = [f"{name} is {there[name]}, here {here[name]}" for name in known if here[name] != there[name]]
    if wrong:
        what = f"the records are of another model: {join_some(wrong, 3)}"
        raise UsageError(what, where=_WHERE, next_step="Make the records again with the run's model, or use mean")
    if missing := [layer for layer in layers if layer not in records.layers]:
        what = f"the records lack the layers {spans(missing, between=', ')}, whose neurons need a reference"
        raise UsageError(what, where=_WHERE, next_step="Make records of all layers (--all_layers), or use mean or zero")
