"""A run folder with collected units that are made by hand: random activations, some of which follow the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from neuron_signatures.runs.arrays import write_arrays
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import UnitStats, sparse_arrays
from neuron_signatures.runs.stage_results import write_table

BANKS = (
    Bank("neurons", "neuron", 0, 12), Bank("neurons", "neuron", 1, 12), Bank("sae", "att", 0, 30),
    Bank("sae", "mlp", 0, 30), Bank("sae", "res", 0, 30), Bank("sae", "res", 1, 30),
)  # fmt: skip
CLASSES = ("arts", "biology", "chess")


@dataclass(frozen=True)
class Made:
    """Texts and units; `totals` and `topk` by bank."""

    texts: pd.DataFrame
    totals: Mapping[Bank, np.ndarray]
    topk: Mapping[Bank, np.ndarray]

    def stats(self, bank: Bank) -> UnitStats:
        total, n_tokens = self.totals[bank].astype(np.float32), self.texts["n_tokens"].to_numpy()
        peak = (total / 2).astype(np.float32)
        matrices = [m if bank.signed else sp.csr_array(m) for m in (total, peak)]
        threshold = np.full(bank.width, 1.0 if bank.signed else 0.0, np.float32)
        return UnitStats(bank, matrices[0], matrices[1], sp.csr_array(self.topk[bank]), threshold, n_tokens)


def made(
    *, n_per_class: int = 24, classes: Sequence[str] = CLASSES, banks: Sequence[Bank] = BANKS, seed: int = 0,
    effect: float = 3.0,
) -> Made:  # fmt: skip
    """In every bank, unit c follows class number c, by `effect`; all others are random. Units 5 and 6 always fire."""
    rng = np.random.default_rng(seed)
    n = n_per_class * len(classes)
    of = np.repeat(np.arange(len(classes)), n_per_class)
    texts = pd.DataFrame({
        "text": np.arange(n), "class": [classes[i] for i in of],
        "skill": [f"{classes[i]}{k % 2}" for k, i in enumerate(of)],
        "half": ["find" if (k // 2) % 2 == 0 else "held_out" for k in range(n)],
        "n_tokens": rng.integers(5, 30, n), "truncated": False, "content": [f"text {k}" for k in range(n)],
    })  # fmt: skip
    totals, topk = {}, {}
    for bank in banks:
        x = rng.gamma(1.0, 2.0, (n, bank.width)) * (rng.random((n, bank.width)) < 0.3)
        for c in range(len(classes)):
            x[:, c] += effect * (of == c) * rng.random(n)
        x[:, 5:7] += 4
        x[:, -1] = 0
        totals[bank] = x.astype(np.float32)
        topk[bank] = (x > 3).astype(np.int32)
    return Made(texts, totals, topk)


def write_made(run_dir: Path, what: Made, *, n_sample: int = 300, seed: int = 0) -> Path:
    """Write it as `collect` does, in two parts."""
    rng, n = np.random.default_rng(seed), len(what.texts)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / names.SKILLS).mkdir(exist_ok=True)
    writer = ResultsWriter(run_dir, names.SKILLS)
    writer.begin(names.record_name("collect"))
    write_table(writer, names.TEXTS, what.texts, columns.TEXTS)
    for number, rows in ((1, slice(0, n // 3)), (2, slice(n // 3, n))):
        arrays: dict[str, np.ndarray] = {}
        for bank in what.totals:
            stats = what.stats(bank)
            for name, matrix in (("total", stats.total), ("peak", stats.peak), ("topk", stats.topk)):
                if isinstance(matrix, np.ndarray):
                    arrays[f"{bank.key}.{name}"] = matrix[rows]
                else:
                    arrays |= sparse_arrays(f"{bank.key}.{name}.", sp.csr_array(matrix[rows]))
        with writer.file(names.part_name(number)) as f:
            write_arrays(f, arrays)
    text = np.sort(rng.integers(0, n, n_sample))
    sample = {"text": text, "position": rng.integers(1, 20, n_sample), "token_id": rng.integers(0, 40, n_sample)}
    for bank in what.totals:
        acts = what.totals[bank][text] * (rng.random((n_sample, bank.width)) < 0.6)
        sample[f"{bank.key}.threshold"] = what.stats(bank).threshold
        if bank.signed:
            sample[f"{bank.key}.acts"] = (acts[:, : bank.n_units] - acts[:, bank.n_units :]).astype(np.float16)
        else:
            sample |= sparse_arrays(f"{bank.key}.", sp.csr_array(acts.astype(np.float16).astype(np.float32)))
    with writer.file(names.SAMPLE) as f:
        write_arrays(f, sample)
    writer.record(names.record_name("collect"), _record(what, n_sample))
    return run_dir


def _record(what: Made, n_sample: int) -> dict[str, object]:
    counts = what.texts.groupby(["class", "skill"]).size()
    classes: dict[str, dict[str, int]] = {}
    for (name, skill), count in counts.items():
        classes.setdefault(str(name), {})[str(skill)] = int(count)
    banks = [
        {"source": b.source, "site": b.site, "layer": b.layer, "n_units": b.n_units, "origin": "made", "sha256": None}
        for b in what.totals
    ]
    return {
        "stage": "poc7_compare_skills", "mode": "collect", "created_at_utc": "2026-01-01T00:00:00+00:00", "run": None,
        "settings": {}, "wall_seconds": 0.0, "n_texts": len(what.texts), "n_tokens": int(what.texts["n_tokens"].sum()),
        "n_duplicates": 0, "n_too_short": 0, "n_truncated": 0, "classes": classes, "top_k": 3, "quantile": 0.99,
        "banks": banks, "n_parts": 2,
    }  # fmt: skip
