"""Neuronpedia batches: `features/batch-N.jsonl.gz` and `activations/batch-N.jsonl.gz`, one JSON object per line.

The keys are those of Neuronpedia's own export tools (`neuronpedia_utils`, tables Feature and Activation) without
`id`, `creatorId` and `createdAt`, which belong to an account there. Texts of the list of strongest have `binMin` and
`binContains` -1, those of an interval its limits and the share of sampled tokens in it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, NamedTuple, cast

import numpy as np
from pydantic import Field, ValidationError, model_validator

from neuron_signatures.records.exchange.neuron_record import Input, Number, decimal_acts
from neuron_signatures.records.exchange.options import ExportOptions
from neuron_signatures.records.exchange.strongest import strongest_rows
from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors, whole_file
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window

FEATURES, ACTIVATIONS = "features", "activations"
STRONGEST_BIN = -1.0
_LAYER = re.compile(r"(\d{1,5})-(.{1,200})", re.DOTALL)
_BATCH = re.compile(r"batch-(\d{1,9})\.jsonl(\.gz)?")
_MAX_LINE = 64 << 20
# Columns of Neuronpedia that say something about a direction of a sparse autoencoder, empty for a neuron.
_EMPTY = (
    "vector", "topkCosSimIndices", "topkCosSimValues", "neuron_alignment_indices", "neuron_alignment_values",
    "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1",
    "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1", "neg_str", "neg_values",
    "pos_str", "pos_values", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist",
)  # fmt: skip


class Activation(Input):
    """A line of `activations`: a text and the activation at each token."""

    model_id: Annotated[str, Field(alias="modelId", max_length=1000)]
    layer: Annotated[str, Field(max_length=1000)]
    index: Annotated[str, Field(pattern=r"^[0-9]{1,8}$")] | Annotated[int, Field(ge=0, lt=1 << 24)]
    tokens: Annotated[list[str], Field(min_length=1, max_length=1 << 15)]
    values: list[Number]
    bin_contains: Annotated[Number | None, Field(alias="binContains")] = None

    @model_validator(mode="after")
    def _fits(self) -> Activation:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"{len(self.tokens)} tokens and {len(self.values)} values")
        if not _LAYER.fullmatch(self.layer):
            raise ValueError(f"layer {self.layer[:40]!r} is not a number and a source, such as 6-mlp")
        return self

    @property
    def neuron(self) -> tuple[int, int]:
        found = _LAYER.fullmatch(self.layer)
        assert found is not None
        return int(found[1]), int(self.index)

    @property
    def is_strongest(self) -> bool:
        """Whether it is of the list of strongest, not of an interval."""
        return self.bin_contains in (None, STRONGEST_BIN)


class Bars(NamedTuple):
    """A histogram: counts, and the middles of the bins."""

    heights: list[int]
    values: list[float]


class BatchWriter:
    """The two files of one batch; both get their names when the block ends."""

    def __init__(self, out_dir: Path, number: int) -> None:
        self.n_bytes = 0
        self._out_dir, self._name = out_dir, f"batch-{number}.jsonl.gz"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> BatchWriter:
        with self._stack:
            self._features = self._open(FEATURES)
            self._activations = self._open(ACTIVATIONS)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self.n_bytes = sum((self._out_dir / f / self._name).stat().st_size for f in (FEATURES, ACTIVATIONS))

    def feature(self, record: dict[str, Any]) -> None:
        _write_line(self._features, record)

    def activation(self, record: dict[str, Any]) -> None:
        _write_line(self._activations, record)

    def _open(self, folder: str) -> BufferedIOBase:
        with explain_os_errors(self._out_dir / folder):
            (self._out_dir / folder).mkdir(parents=True, exist_ok=True)
        file = self._stack.enter_context(whole_file(self._out_dir / folder, self._name))
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)  # the same bytes every time
        return self._stack.enter_context(packed)


def write_neuron(batch: BatchWriter, records: Records, layer: int, neuron: int, options: ExportOptions) -> int:
    """Write one neuron: its feature, its strongest texts and texts by interval. Returns the number of texts."""
    parts = options.parts
    model_id = options.model_id or records.meta.model_name.rstrip("/").rpartition("/")[2]
    whose = {"modelId": model_id, "layer": f"{layer}-{options.source}", "index": str(neuron)}
    strongest = strongest_rows(records, layer, neuron, options)
    sample = records.sample(layer, neuron, parts=parts)
    acts = sample.acts[sample.counts]
    batch.feature(_feature(records, layer, neuron, whose, strongest, acts, options))
    top = max((w.value or 0.0 for w in strongest), default=0.0)
    for window in strongest:
        batch.activation(_activation(whose, window, STRONGEST_BIN, top, STRONGEST_BIN))
    n, seen = len(strongest), {w.window for w in strongest}
    intervals = records.by_interval(
        layer, neuron, "+", n_intervals=options.n_intervals, per_interval=options.per_interval, parts=parts,
        seed=options.seed,
    )  # fmt: skip
    for interval in intervals:
        share = float(((acts > interval.low) & (acts <= interval.high)).mean()) if len(acts) else 0.0
        for window in interval.windows:
            if window.window not in seen:
                batch.activation(_activation(whose, window, interval.low, interval.high, share))
                n += 1
    return n


def histogram_bars(records: Records, layer: int, neuron: int, parts: Sequence[Part]) -> Bars:
    """The histogram of a neuron's activations, without the two bins that have no end."""
    histogram = records.histogram(layer, neuron, parts=parts)
    inner = histogram.edges[1:-1].astype(np.float64)
    return Bars(histogram.counts[1:-1].tolist(), ((inner[:-1] + inner[1:]) / 2).tolist())


def read_activations(source: Path) -> Iterator[Activation]:
    """The lines of `activations/batch-*.jsonl.gz` (or `.jsonl`), by number of the batch.

    Raises `UsageError` with the file, the line and the field if one is wrong.
    """
    folder = source / ACTIVATIONS if (source / ACTIVATIONS).is_dir() else source
    try:
        found = [(int(m[1]), p) for p in folder.iterdir() if (m := _BATCH.fullmatch(p.name))]
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror or e})", where=str(folder)) from e
    for _, path in sorted(found):
        for number, line in enumerate(_lines(path), start=1):
            yield _parsed(line, path, number)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, each of a bounded size."""
    try:
        with open_regular(path) as raw, _unpacked(raw, path) as file:
            while line := file.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    raise UsageError(f"has a line of more than {_MAX_LINE} bytes", where=str(path))
                yield line
    except (OSError, EOFError, zlib.error, NotReadableError) as e:
        raise UsageError(f"cannot be read ({e})", where=str(path), next_step="Fix or remove the file") from e


def _unpacked(raw: BinaryIO, path: Path) -> BufferedIOBase:
    return gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else cast(BufferedIOBase, raw)


def _parsed(line: bytes, path: Path, number: int) -> Activation:
    try:
        return Activation.model_validate(strict(parse_json(line)))
    except ValidationError as e:
        what = first_error(e)
    except ValueError as e:
        what = f"not valid JSON ({e})"
    raise UsageError(what, where=f"{path}, line {number}", next_step="Fix or remove the file")


def _feature(
    records: Records, layer: int, neuron: int, whose: dict[str, str], strongest: list[Window], acts: np.ndarray,
    options: ExportOptions,
) -> dict[str, Any]:  # fmt: skip
    top = max((w.value or 0.0 for w in strongest), default=0.0)
    bars = histogram_bars(records, layer, neuron, options.parts)
    return {
        **whose,
        "maxActApprox": float(np.float32(max(top, 0.0))),
        "hasVector": False,
        "vectorLabel": None,
        "hookName": f"blocks.{layer}.mlp.hook_post",
        "frac_nonzero": float((acts != 0).mean()) if len(acts) else 0.0,
        "freq_hist_data_bar_heights": bars.heights,
        "freq_hist_data_bar_values": bars.values,
        **{key: [] for key in _EMPTY},
    }


def _activation(whose: dict[str, str], window: Window, low: float, high: float, contains: float) -> dict[str, Any]:
    assert window.acts is not None
    values = decimal_acts(window.acts)
    return {
        **whose, "tokens": list(window.tokens), "values": values, "maxValue": max(values),
        "maxValueTokenIndex": values.index(max(values)), "minValue": min(values), "binMin": low, "binMax": high,
        "binContains": contains,
    }  # fmt: skip


def _write_line(file: BufferedIOBase, record: dict[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n")
