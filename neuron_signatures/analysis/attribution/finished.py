"""The finished metrics of a stopped command: the same command reads them from their files.

A partial file of the command names the metrics whose files are complete, with the checksums of their records. It is
removed when the command ends. A record has the checksums of its files, so files that were changed or written by another
command meanwhile are not used.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor

from neuron_signatures.analysis.attribution.influence import Influence
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.writing import PER_ACT
from neuron_signatures.runs.bounded_json import RECORD_BYTES, parse_json
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.manifest import FileRecord
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import read_regular
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ANALYSIS, ResultsWriter, meta_name, partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20
_FILES = TypeAdapter(list[FileRecord])
_KEYS = ("layer", "ctx_idx", "neuron")
_SCORES = ("activation", "influence", "influence_centred")


@dataclass(frozen=True)
class Layout:
    """The rows of a table of scores, and whether its scores by the command's reference are those by zero."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    n_neurons: int
    by_zero: bool


@dataclass(frozen=True)
class FinishedMetric:
    """A metric whose files are complete. Its facts and warnings are in the `record`, not in `influence`."""

    influence: Influence
    record: dict[str, Any]


class FinishedMetrics:
    """The metrics that a command has finished, in its partial file; `stem` names the command."""

    def __init__(self, run: Run, stem: str, settings: Mapping[str, Any]) -> None:
        self._run_dir = run.path
        self._partial = Partial(ResultsWriter(run.path), partial_name(stem), settings)
        self._records: dict[str, str] = {}

    def resume(self) -> None:
        """Take over the metrics that an earlier process finished with the same settings."""
        try:
            stored = self._partial.load(max_bytes=_MAX_BYTES)
        except UsageError:
            log.info("the finished metrics of a stopped command are not used: its settings were others")
            return
        names, digests = (stored.get(name, np.array([])).ravel().tolist() for name in ("metrics", "records"))
        self._records = dict(zip(names, digests, strict=False))

    @property
    def metrics(self) -> set[str]:
        """Those that were finished; their files may have changed since."""
        return set(self._records)

    def add(self, metric: Metric, stem: str) -> None:
        """Store that the files of the metric are complete."""
        self._records[metric] = sha256_file(self._run_dir / ANALYSIS / meta_name(stem))
        names, digests = list(self._records), list(self._records.values())
        self._partial.save_now({"metrics": np.array(names), "records": np.array(digests)})

    def read(self, metric: Metric, stem: str, layout: Layout) -> FinishedMetric | None:
        """The metric from its files; None if it is not finished or, with a warning, if a file is missing or changed."""
        if metric not in self._records:
            return None
        try:
            record = self._record(stem, self._records[metric])
            return FinishedMetric(_influence(self._run_dir, stem, metric, layout), record)
        except (BadRunError, UsageError, OSError, ValueError, KeyError) as e:
            why = e.what if isinstance(e, BadRunError | UsageError) else e
            log.warning("%s was finished, but its files have changed (%s): computing it again", metric, why)
            del self._records[metric]
            return None

    def remove(self) -> None:
        """Remove the partial file: the command is complete."""
        self._partial.remove()

    def _record(self, stem: str, sha256: str) -> dict[str, Any]:
        """The record of the metric. Raises `ValueError`, among others, if it or one of its files has changed."""
        raw = read_regular(inside(self._run_dir, f"{ANALYSIS}/{meta_name(stem)}"), max_bytes=RECORD_BYTES)
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise ValueError("the record is another")
        record: dict[str, Any] = parse_json(raw)
        for file in _FILES.validate_python(record["files"]):
            if sha256_file(inside(self._run_dir, f"{ANALYSIS}/{file.name}")) != file.sha256:
                raise ValueError(f"{file.name} is another")
        return record


def _influence(run_dir: Path, stem: str, metric: Metric, layout: Layout) -> Influence:
    """The scores in a table of all neurons. Raises `ValueError` if its rows are others than those of `layout`."""
    shape = (len(layout.layers), len(layout.positions), layout.n_neurons)
    wanted = np.meshgrid(layout.layers, layout.positions, np.arange(layout.n_neurons), indexing="ij")
    keys = read_table(run_dir, stem, columns=_KEYS)  # in two parts, because the size of what is read is limited
    if any(not np.array_equal(keys[k].to_numpy(), w.reshape(-1)) for k, w in zip(_KEYS, wanted, strict=True)):
        raise ValueError("the table has other rows")
    names = [*_SCORES, PER_ACT[metric]] if metric in PER_ACT else list(_SCORES)
    table = read_table(run_dir, stem, columns=names)
    acts, zero, centred, *per_act = (_column(table, name, shape) for name in names)
    scores = zero if layout.by_zero else centred
    found = Attribution(metric, layout.layers, layout.positions, scores, acts, per_act[0] if per_act else None)
    return Influence(found, zero, centred, {}, ())


def _column(table: pd.DataFrame, name: str, shape: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
    values = table[name].to_numpy()
    if values.dtype != np.float32:
        raise ValueError(f"column {name} is not float32")
    return torch.from_numpy(values.copy()).reshape(tuple(shape))
