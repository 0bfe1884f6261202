"""Neuronpedia's explanations: `explanations/batch-<n>.jsonl.gz` (or `.jsonl`), one object per line.

    modelId, layer, index, description, typeName, explanationModelName, id, authorId, triggeredByUserId, notes, scoreV1,
    scoreV2, umap_x, umap_y, umap_cluster, umap_log_feature_sparsity, createdAt, updatedAt

`layer` is `"<n>-<source>"`, such as `6-mlp`, and `index` a string (or a number). Only the first four are required. What
an account or a map on that site means is kept and written back. The vector `embedding` is not kept.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from neuron_signatures.explain.exchange.items import Exported, Input, Item, reason, refuse
from neuron_signatures.explain.exchange.reading import files_below, json_lines
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors, whole_file

FOLDER = "explanations"
BATCH = 1024
"""Explanations of a file."""
_LAYER = re.compile(r"(\d{1,5})-(.{1,200})", re.DOTALL | re.ASCII)
_Number = Annotated[float, Field(strict=False)]
_Label = Annotated[str, Field(max_length=1000)]


class Explanation(Input):
    """A line."""

    modelId: _Label
    layer: _Label
    index: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")] | Annotated[int, Field(ge=0, lt=10**9)]
    description: str
    typeName: _Label | None = None
    explanationModelName: _Label | None = None
    id: _Label | None = None
    authorId: _Label | None = None
    triggeredByUserId: _Label | None = None
    notes: str | None = None
    scoreV1: _Number | None = None
    scoreV2: _Number | None = None
    umap_x: _Number | None = None
    umap_y: _Number | None = None
    umap_cluster: int | None = None
    umap_log_feature_sparsity: _Number | None = None
    createdAt: _Label | None = None
    updatedAt: _Label | None = None

    @model_validator(mode="after")
    def _fits(self) -> Explanation:
        if not _LAYER.fullmatch(self.layer):
            raise ValueError(f"layer {self.layer[:40]!r} is not a number and a source, such as 6-mlp")
        return self

    @property
    def place(self) -> tuple[int, str]:
        """The layer and the source."""
        found = _LAYER.fullmatch(self.layer)
        assert found is not None
        return int(found[1]), found[2]


def read_neuronpedia(source: Path, *, layer_source: str | None = None) -> Iterator[Item]:
    """The explanations of a file, or of all batches in a folder; of one source (such as `mlp`), if it is given.

    Raises `UsageError`, also if there are explanations of several sources or models: their indices are not those of
    the same neurons.
    """
    first: tuple[str, str] | None = None
    for path in files_below(source, (".jsonl", ".jsonl.gz")) if source.is_dir() else [source]:
        for number, value in json_lines(path):
            try:
                e = Explanation.model_validate(value)
            except ValidationError as error:
                refuse(reason(error), path, number)
            layer, of = e.place
            if layer_source not in (None, of):
                continue
            if first is not None and first != (e.modelId, of):
                what = f"has explanations of {'/'.join(first)} and of {e.modelId}/{of}"
                raise UsageError(what, where=f"{path}, line {number}", next_step="Import one with --layer_source")
            first = e.modelId, of
            kept = e.model_dump(exclude_unset=True, exclude={"description"})
            yield Item(layer, int(e.index), e.description, e.typeName or "", e.explanationModelName, kept)


def write_neuronpedia(out_dir: Path, items: Sequence[Exported], *, model_id: str, source: str = "mlp") -> int:
    """Write batches of `BATCH` lines. Returns the bytes. What was imported has its model and source already."""
    folder, n_bytes = out_dir / FOLDER, 0
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(items), BATCH):
        name = f"batch-{start // BATCH}.jsonl.gz"
        with whole_file(folder, name) as f, gzip.GzipFile(filename="", mode="wb", fileobj=f, mtime=0) as packed:
            for item in items[start : start + BATCH]:
                packed.write(_line(item, model_id, source))
        n_bytes += (folder / name).stat().st_size
    return n_bytes


def _line(item: Exported, model_id: str, source: str) -> bytes:
    record: dict[str, Any] = {
        "modelId": model_id, "layer": f"{item.layer}-{source}", "index": str(item.neuron),
        "description": item.text, "typeName": item.explainer, "explanationModelName": item.model,
        **item.source,
    }  # fmt: skip
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
