"""The end of `--mode collect`: tables, gates over all tokens, and the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.meta import BankRecord, CollectMeta, read_meta
from neuron_signatures.runs.skills.names import GATES, SAMPLE, SKILLS, STAGE, part_name, record_name, rest_name
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.tables import read_table_file
from neuron_signatures.skills.collect.banks import LoadedBank
from neuron_signatures.skills.collect.part import NOT_FINITE, PassSettings
from neuron_signatures.skills.collect.request import CollectRequest
from neuron_signatures.skills.collect.summary import CollectSummary
from neuron_signatures.skills.collect.tables import write_features, write_gates, write_texts
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts
from neuron_signatures.skills.collect.unfinished import UnfinishedFiles, remove_leftovers
from neuron_signatures.skills.collect.units.gate import Gate, joined

_RECORD = record_name("collect")


@dataclass(frozen=True)
class Speed:
    """Of this process; tokens of earlier ones do not count."""

    n_tokens: int
    seconds: float


def finish(
    run: Run, writer: ResultsWriter, work: PassSettings, starts: Sequence[int], files: UnfinishedFiles,
    settings: dict[str, Any], speed: Speed, request: CollectRequest,
) -> CollectSummary:  # fmt: skip
    """Write the tables and the record, then remove what only an unfinished command needs."""
    texts, banks, run_dir = work.texts, work.banks, run.path
    began = time.monotonic()

    def open_rest(number: int) -> ArrayFile:
        return ArrayFile(inside(run_dir, f"{SKILLS}/{rest_name(number)}"))

    gates, not_finite = _over_parts(banks, len(starts) - 1, open_rest)
    write_texts(writer, texts)
    write_gates(writer, banks, gates)
    write_features(writer, banks, texts, starts, open_rest)
    warnings = _warnings(texts, gates, not_finite)
    for name in (SAMPLE, *map(part_name, range(1, len(starts)))):
        writer.include(name)
    files.seconds += time.monotonic() - began
    record = stage_record(
        run_identity(run), "collect", settings, stage=STAGE, warnings=list(warnings),
        n_texts=len(texts.texts), n_tokens=int(texts.n_counted.sum()), n_duplicates=texts.n_duplicates,
        n_ambiguous=texts.n_ambiguous, n_too_short=texts.n_too_short, n_truncated=sum(texts.truncated),
        classes=texts.classes(), top_k=work.top_k, quantile=request.quantile,
        banks=[_bank_record(bank).model_dump() for bank in banks], n_parts=len(starts) - 1,
        wall_seconds=round(files.seconds, 3), forced=request.force,
    )  # fmt: skip
    writer.record(_RECORD, record)
    remove_leftovers(run_dir, n_parts=len(starts) - 1)
    meta = read_meta(run_dir, "collect", CollectMeta)
    rate = speed.n_tokens / speed.seconds if speed.n_tokens else None
    return CollectSummary(str(run_dir), meta, gates, rate, warnings)


def _over_parts(
    banks: Sequence[LoadedBank], n_parts: int, open_rest: Callable[[int], ArrayFile]
) -> tuple[dict[str, Gate], dict[str, int]]:
    """The gates over all tokens, and by bank the tokens whose values are not finite."""
    sums: dict[str, list[dict[str, np.ndarray]]] = {b.bank.key: [] for b in banks if b.encoder is not None}
    not_finite = np.zeros(len(banks), np.int64)
    for number in range(1, n_parts + 1):
        with open_rest(number) as rest:
            not_finite += rest.read(NOT_FINITE)
            for key, found in sums.items():
                found.append({name: rest.read(f"{key}.{name}") for name in ("gate.numbers", "gate.sum", "gate.fired")})
    gates = {key: joined(list(found)) for key, found in sums.items()}
    return gates, {bank.bank.key: int(n) for bank, n in zip(banks, not_finite, strict=True) if n}


def _warnings(texts: TokenisedTexts, gates: dict[str, Gate], not_finite: dict[str, int]) -> tuple[str, ...]:
    found = []
    if texts.n_ambiguous:
        found.append(f"{counted(texts.n_ambiguous, 'text')} with several classes are left out")
    failed = [key for key, gate in gates.items() if not gate.passed]
    if failed:
        found.append(f"{counted(len(failed), 'autoencoder')} with an FVU above 1, such as {failed[0]}")
    if not_finite:
        key, n = max(not_finite.items(), key=lambda item: item[1])
        found.append(f"activations that are not finite count as 0: {counted(n, 'token')} of {key}, at most")
    return tuple(found)


def _bank_record(bank: LoadedBank) -> BankRecord:
    return BankRecord(**asdict(bank.bank), origin=bank.origin[:1000], sha256=bank.sha256)


def stored_gates(run_dir: Path) -> dict[str, Gate]:
    """The gates of a finished command."""
    table = read_table_file(inside(run_dir, f"{SKILLS}/{GATES}.parquet"))
    return {
        f"{row.source}.{row.site}.{row.layer}": Gate(
            row.l0, None if np.isnan(row.fvu) else row.fvu, row.dead_share, row.n_tokens
        )
        for row in table.itertuples()
    }
