"""The tables of `collect`: texts, gates, and the strongest units at every token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.results import ResultsWriter, table_name
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.names import FEATURES, GATES, TEXTS
from neuron_signatures.runs.stage_results import arrow_schema
from neuron_signatures.skills.collect.banks import LoadedBank
from neuron_signatures.skills.collect.batches import counted_tokens
from neuron_signatures.skills.collect.part import TOP_UNIT, TOP_VALUE
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts
from neuron_signatures.skills.collect.units.gate import Gate
from neuron_signatures.skills.collect.units.strongest import NONE

if TYPE_CHECKING:
    import pyarrow as pa

_TOKENS_AT_ONCE = 4096


def write_texts(writer: ResultsWriter, texts: TokenisedTexts) -> None:
    """Write `texts.parquet`."""
    data = {
        "text": np.arange(len(texts.texts)),
        "class": [t.cls for t in texts.texts],
        "skill": [t.skill for t in texts.texts],
        "half": [t.half for t in texts.texts],
        "n_tokens": texts.n_counted,
        "truncated": list(texts.truncated),
        "content": texts.contents,
    }
    _write(writer, TEXTS, data, columns.TEXTS)


def write_gates(writer: ResultsWriter, banks: Sequence[LoadedBank], gates: Mapping[str, Gate]) -> None:
    """Write `gates.parquet`: a row for each autoencoder, over all tokens."""
    rows = [
        {
            "source": b.bank.source, "site": b.bank.site, "layer": b.bank.layer, "name": b.name,
            "n_units": b.bank.n_units, "l0": gate.l0, "fvu": gate.fvu, "dead_share": gate.dead_share,
            "n_tokens": gate.n_tokens, "passed": gate.passed,
        }
        for b in banks
        if (gate := gates.get(b.bank.key)) is not None
    ]  # fmt: skip
    _write(writer, GATES, {name: [row[name] for row in rows] for name in columns.GATES}, columns.GATES)


def write_features(
    writer: ResultsWriter, banks: Sequence[LoadedBank], texts: TokenisedTexts, starts: Sequence[int],
    open_part: Callable[[int], ArrayFile],
) -> int:  # fmt: skip
    """Write `features.parquet` part by part; `open_part` opens what a part (from 1) left. Returns the rows.

    Rows are by token, then bank, then rank. Memory: 4,096 tokens at a time.
    """
    import pyarrow.parquet as pq

    schema = _feature_schema()
    n_rows, needed = 0, 16 * len(banks) * int(texts.n_counted.sum())
    with (
        writer.file(table_name(FEATURES), needed=needed) as f,
        # without the schema of Arrow, dictionaries are text again when the file is read
        pq.ParquetWriter(f, schema, store_schema=False) as out,
    ):
        build = _FeatureRows(banks, texts, schema)
        for number in range(1, len(starts)):
            with open_part(number) as part:
                for table in build.tables(part, range(starts[number - 1], starts[number])):
                    out.write_table(table)
                    n_rows += table.num_rows
    return n_rows


class _FeatureRows:
    """Makes Arrow tables of the strongest units; text columns are dictionaries over classes, skills and banks."""

    def __init__(self, banks: Sequence[LoadedBank], texts: TokenisedTexts, schema: pa.Schema) -> None:
        self._texts, self._schema = texts, schema
        self._of_text = {
            "class": _codes([t.cls for t in texts.texts]), "skill": _codes([t.skill for t in texts.texts])
        }  # fmt: skip
        self._of_bank = {"source": _codes([b.bank.source for b in banks]), "site": _codes([b.bank.site for b in banks])}
        self._layer = np.array([b.bank.layer for b in banks], np.int32)

    def tables(self, part: ArrayFile, numbers: range) -> Iterator[pa.Table]:
        tokens = counted_tokens(self._texts, numbers)
        text = (tokens.row + numbers.start).astype(np.int32)
        ids = np.concatenate([self._texts.ids[n][self._texts.first_pos :] for n in numbers])
        for start in range(0, len(text), _TOKENS_AT_ONCE):
            stop = min(start + _TOKENS_AT_ONCE, len(text))
            unit, value = part.rows(TOP_UNIT, start, stop), part.rows(TOP_VALUE, start, stop)
            token, bank, _ = there = np.nonzero(unit != NONE)
            token = token + start
            yield self._table(text[token], bank, {
                "feature": unit[there], "value": value[there], "position": tokens.pos[token].astype(np.int32),
                "token_id": ids[token].astype(np.int32),
            })  # fmt: skip

    def _table(self, text: np.ndarray, bank: np.ndarray, numbers: Mapping[str, np.ndarray]) -> pa.Table:
        import pyarrow as pa

        data: dict[str, Any] = {"text": text, "layer": self._layer[bank], **numbers}
        for rows, labels in ((text, self._of_text), (bank, self._of_bank)):
            for name, (codes, names) in labels.items():
                data[name] = pa.DictionaryArray.from_arrays(codes[rows], pa.array(names, pa.string()))
        return pa.table({name: data[name] for name in columns.FEATURES}, schema=self._schema)


def _feature_schema() -> pa.Schema:
    import pyarrow as pa

    plain = arrow_schema(columns.FEATURES)
    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([f.with_type(text) if pa.types.is_string(f.type) else f for f in plain])


def _codes(values: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    names = sorted(set(values))
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[v] for v in values], np.int32), names


def _write(writer: ResultsWriter, stem: str, data: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(kinds)
    table = pa.Table.from_arrays([pa.array(data[f.name], f.type) for f in schema], schema=schema)
    with writer.file(table_name(stem), needed=table.nbytes) as f:
        pq.write_table(table, f)
