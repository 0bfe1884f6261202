"""Runs with collected units and specific units, written without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from run_folders import write_run
from safetensors.numpy import save_file

from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.meta import CollectMeta, read_meta
from neuron_signatures.runs.skills.reader import sparse_arrays
from neuron_signatures.runs.skills.units import Unit
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.stage_results import write_table

CLASSES = {"empathy": ("sad", "happy"), "knowledge": ("law",), "mathematics": ("algebra", "geometry"),
           "programming": ("easy", "hard")}  # fmt: skip
BANKS = (Bank("sae", "res", 0, 8), Bank("sae", "mlp", 1, 8), Bank("neurons", "neuron", 0, 6),
         Bank("neurons", "neuron", 1, 6))  # fmt: skip
RES, MLP, NEURONS_0, NEURONS_1 = BANKS
N_PER_SKILL = 2
STAGE = "poc7_compare_skills"


def unit(bank: Bank, column: int) -> Unit:
    return Unit(bank, column)


def own_class(column: int) -> str:
    """The class for which a column of each bank is specific."""
    return sorted(CLASSES)[column % len(CLASSES)]


def make_skill_run(path: Path, *, specific: bool = True) -> Path:
    """A run with two banks of features and two of neurons; column i is specific for class i modulo 4."""
    write_run(path)
    write_collection(path)
    if specific:
        write_specific(path)
    return path


def write_collection(run_dir: Path, **changes: Any) -> None:
    texts = [{"text": 0, "class": c, "skill": s, "half": "find", "n_tokens": 4, "truncated": False,
              "content": f"{s} {i}"}
             for c, skills in CLASSES.items() for s in skills for i in range(N_PER_SKILL)]  # fmt: skip
    frame = pd.DataFrame(texts).assign(text=range(len(texts)))
    with Run.open(run_dir) as run, open_results(run, names.SKILLS) as writer:
        writer.begin(names.record_name("collect"))
        write_table(writer, names.TEXTS, frame, columns.TEXTS)
        _write_arrays(run_dir, len(texts))
        record = stage_record(
            run_identity(run), "collect", {"seed": 0}, stage=STAGE, wall_seconds=0.5, n_texts=len(texts),
            n_tokens=4 * len(texts), n_duplicates=0, n_too_short=0, n_truncated=0,
            classes={c: dict.fromkeys(skills, N_PER_SKILL) for c, skills in CLASSES.items()}, top_k=3, quantile=0.9,
            banks=[{"source": b.source, "site": b.site, "layer": b.layer, "n_units": b.n_units, "origin": "test"}
                   for b in BANKS],
            n_parts=1, **changes,
        )  # fmt: skip
        writer.record(names.record_name("collect"), record)


def write_specific(run_dir: Path, *, held_out_low: float = 0.8) -> None:
    """Columns have AUROC 0.95 for their own class, less for later columns, and about 0.4 for others."""
    rows = []
    for bank in BANKS:
        for column in range(bank.width):
            for name in CLASSES:
                auroc = 0.95 - 0.01 * column if name == own_class(column) else 0.4 + 0.001 * column
                rows.append({
                    **unit(bank, column).row(), "class": name, "auroc": auroc, "held_out_auroc": auroc - 0.02,
                    "held_out_low": held_out_low if name == own_class(column) else 0.3, "held_out_high": 0.99,
                })  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["rank"] = frame.groupby(["source", "class"])["auroc"].rank(method="first", ascending=False).astype("int32")
    frame = frame.reindex(columns=list(columns.SPECIFIC))
    collect = read_meta(run_dir, "collect", CollectMeta)
    with Run.open(run_dir) as run, open_results(run, names.SKILLS) as writer:
        writer.begin(names.record_name("compare"))
        write_table(writer, names.SPECIFIC, frame, columns.SPECIFIC)
        writer.record(names.record_name("compare"), stage_record(
            run_identity(run), "compare", {}, stage=STAGE, wall_seconds=0.5, facts={},
            collect_sha256=collect.record_sha256,
        ))  # fmt: skip


def skill_table(run_dir: Path, stem: str) -> pd.DataFrame:
    return pd.read_parquet(run_dir / names.SKILLS / f"{stem}.parquet")


def _write_arrays(run_dir: Path, n_texts: int) -> None:
    """In each bank, units 1 and 3 are among the strongest of a text."""
    part: dict[str, np.ndarray] = {}
    sample: dict[str, np.ndarray] = {}
    for bank in BANKS:
        dense = np.zeros((n_texts, bank.width), np.float32)
        dense[:, [1, 3]] = 1.0
        for what in ("total", "peak", "topk"):
            matrix = sp.csr_array(dense)
            if bank.signed and what != "topk":
                part[f"{bank.key}.{what}"] = dense
            else:
                part |= sparse_arrays(f"{bank.key}.{what}.", matrix)
        sample[f"{bank.key}.threshold"] = np.zeros(bank.width, np.float32)
    folder = run_dir / names.SKILLS
    save_file(part, folder / names.part_name(1))
    save_file(sample, folder / names.SAMPLE)
