"""Writes the files of `--mode write_scores`: the table of all neurons, the tokens that it names, and the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuron_signatures.analysis.writes.analyze import WritesResult
from neuron_signatures.analysis.writes.finished_layers import LayerWrites
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.results import (
    WRITE_MOMENTS,
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    ResultsWriter,
    table_name,
    write_column,
)
from neuron_signatures.runs.stage_record import stage_record
from neuron_signatures.runs.tokens import encodable

if TYPE_CHECKING:
    import pyarrow as pa

UNIT: Final = "logits per unit of activation, up to a positive factor per layer and position"
DEFINITION: Final = (
    "W_out row, times the weight of the norm on the MLP's output if there is one, times the final norm's weight, times "
    "the unembedding; centred where a norm is a LayerNorm; without the norms' scales, biases and the soft cap"
)


def write_writes(writer: ResultsWriter, result: WritesResult) -> dict[str, Any]:
    """Write `write_scores.parquet`, `write_scores_tokens.parquet` and last the record, which is returned."""
    import pyarrow as pa
    import pyarrow.parquet

    record = writes_record(result)
    writer.begin(WRITES_META)
    tables = (_table(layer, found) for layer, found in result.layers.items())
    first = next(tables)
    ids = [name for name in first.column_names if first.schema.field(name).type == pa.int32()]
    needed = first.nbytes * len(result.layers)
    with (
        writer.file(table_name(WRITES), needed=needed) as f,
        pyarrow.parquet.ParquetWriter(f, first.schema, use_dictionary=ids) as out,
    ):
        for table in (first, *tables):  # a row group per layer: readers of one neuron read one
            out.write_table(table)
    writer.table(WRITES_TOKENS, _tokens(result).to_pandas(), csv=False)
    writer.record(WRITES_META, record)
    result.finished.remove()
    return record


def writes_record(result: WritesResult) -> dict[str, Any]:
    """The stage record: the definition, the layers, the size of the vocabulary, the model's dtype and device."""
    c = result.checked
    bad = sum(int((~np.isfinite(found.scores)).any((1, 2)).sum()) for found in result.layers.values())
    warnings = [f"{bad} neurons have scores that are not finite; their cells are null"] if bad else []
    return stage_record(
        c.run,
        "write_scores",
        {"write_scores": result.shape.top, "layers": result.config.layers},
        unit=UNIT,
        definition=DEFINITION,
        top=result.shape.top,
        vocab=result.shape.vocab,
        n_neurons=len(result.layers) * result.shape.n_neurons,
        analysis_dtype=c.model.spec.dtype,
        analysis_device=str(c.model.device),
        agreement={"worst": c.agreement.worst, "tolerance": c.agreement.tolerance},
        warnings=[*c.warnings, *warnings],
    )


def _table(layer: int, found: LayerWrites) -> pa.Table:
    import pyarrow as pa

    n, _, top = found.ids.shape
    columns = {"layer": np.full(n, layer, np.int32), "neuron": np.arange(n, dtype=np.int32)}
    columns.update(zip(WRITE_MOMENTS, found.moments.T, strict=True))
    for side, name in enumerate(WRITE_SIDES):
        for rank in range(top):
            columns[write_column(name, "id", rank)] = found.ids[:, side, rank]
            columns[write_column(name, "score", rank)] = found.scores[:, side, rank]
    return pa.table({name: pa.array(_finite(values)) for name, values in columns.items()})


def _finite(values: np.ndarray) -> Any:
    """Values with null for NaN and infinities."""
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values)
    return np.ma.masked_invalid(values)


def _tokens(result: WritesResult) -> pa.Table:
    import pyarrow as pa

    ids = np.unique(np.concatenate([np.unique(found.ids) for found in result.layers.values()]))
    texts = [encodable(text) for text in token_strings(result.checked.model.tokenizer, ids.tolist())]
    return pa.table({"token_id": pa.array(ids, pa.int32()), "token": pa.array(texts, pa.string())})
