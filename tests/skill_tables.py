"""Runs with hand-made results of stage 7, written through the real writers: two classes with two skills each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills import names
from neuron_signatures.runs.skills.meta import BankRecord, CollectMeta, ResultMeta, read_meta
from neuron_signatures.runs.skills.names import SKILLS, Mode, record_name
from neuron_signatures.runs.skills.tables import TABLES
from neuron_signatures.runs.stage_results import write_table

WHEN = "2026-03-04T06:07:08+00:00"
HOSTILE = "<img src=x onerror=\"document.title='EVIL'\">"
CLASSES = ("cooking", HOSTILE)
LAYERS = (0, 1)


def collected(run_dir: Path) -> None:
    """Texts, gates, and the record of `collect`, without the files of units."""
    texts = [
        {"text": i, "class": CLASSES[i % 2], "skill": f"s{i % 4}", "half": "find" if i % 3 else "held_out",
         "n_tokens": 10, "truncated": False, "content": f"text {i}"}
        for i in range(12)
    ]  # fmt: skip
    gates = [
        {"source": "sae", "site": "res", "layer": n, "name": f"res_L{n}", "n_units": 8, "l0": 2.5, "fvu": 0.1 + n,
         "dead_share": 0.0, "n_tokens": 120, "passed": n == 0}
        for n in LAYERS
    ]  # fmt: skip
    banks = [BankRecord(source="sae", site="res", layer=n, n_units=8, origin="demo") for n in LAYERS]
    banks += [BankRecord(source="neurons", site="neuron", layer=n, n_units=5, origin="model") for n in LAYERS]
    meta = CollectMeta(
        stage="poc7_compare_skills", mode="collect", created_at_utc=WHEN, settings={}, wall_seconds=1.0, n_texts=12,
        n_tokens=120, n_duplicates=1, n_too_short=0, n_truncated=0, top_k=3, quantile=0.99, banks=banks, n_parts=0,
        classes={name: {"s0": 3, "s1": 3} for name in CLASSES},
    )  # fmt: skip
    write(run_dir, "collect", {names.TEXTS: texts, names.GATES: gates}, meta)


def compared(run_dir: Path) -> None:
    """Similarities, separation, specific units, frequencies and probes."""
    result(run_dir, "compare", {
        names.SIMILARITIES: similarities(), names.SEPARATION: separation(), names.SPECIFIC: specific(),
        names.FREQUENCIES: frequencies(), names.PROBES: probes(),
    }, facts={"length_auroc": {key: {"find": 0.7, "held_out": 0.625} for key in CLASSES}})  # fmt: skip


def similarities() -> list[dict]:
    found = []
    for source, site, layer in (("sae", "", None), ("sae", "res", 0), ("neurons", "neuron", None)):
        for background in ("kept", "left_out"):
            for a, b, level in ((*CLASSES, "between"), ("s0", "s1", "within")):
                between = level == "between"
                found.append({
                    "level": level, "class_a": a if between else CLASSES[0], "class_b": b if between else CLASSES[0],
                    "skill_a": "" if between else a, "skill_b": "" if between else b, "source": source, "site": site,
                    "layer": layer, "background": background, "measure": "cosine", "vector": "mean", "value": 0.25,
                    "low": 0.2, "high": 0.3, "null_mean": 0.9, "null_sd": 0.01, "p": 0.001, "n_null": 1000,
                    "halves_mean": 0.95, "halves_low": 0.9, "halves_high": 1.0, "n_a": 6, "n_b": 6, "n_units": 8,
                })  # fmt: skip
    return found


def separation() -> list[dict]:
    return [
        {"source": source, "site": site, "layer": layer, "background": "left_out", "measure": "cosine",
         "vector": "mean", "within": 0.95, "between": 0.25, "difference": 0.7, "low": 0.6, "high": 0.8,
         "null_mean": 0.0, "null_sd": 0.02, "p": 0.001, "n_null": 1000}
        for source, site, layer in (("sae", "", None), ("sae", "res", 0), ("sae", "res", 1),
                                    ("neurons", "neuron", None), ("neurons", "neuron", 1))
    ]  # fmt: skip


def specific() -> list[dict]:
    labels = {"sae": ("res", "res L0F{}"), "neurons": ("neuron", "L0N{}-")}
    return [
        {"source": source, "site": site, "layer": 0, "unit": 5 + u if source == "neurons" else u,
         "label": label.format(u), "class": of, "rank": 1 + u, "auroc": 0.99 - u / 10, "p": 1e-9, "q": 1e-7,
         "odds_ratio": 9.0, "share_in": 0.8, "share_out": 0.1, "mean_in": 1.0, "mean_out": 0.1,
         "held_out_auroc": None if u == 4 else 0.97 - u / 10, "held_out_low": 0.9 - u / 10,
         "held_out_high": 1.0, "held_out_odds_ratio": 8.0}
        for of in CLASSES for source, (site, label) in labels.items() for u in range(5)
    ]  # fmt: skip


def frequencies() -> list[dict]:
    return [
        {"source": "sae", "site": "res", "layer": n, "class": of, "low": low / 4, "high": (low + 1) / 4,
         "n_units": 8 - low}
        for n in LAYERS for of in CLASSES for low in range(4)
    ]  # fmt: skip


def probes() -> list[dict]:
    return [
        {"source": "sae", "site": "", "layer": None, "level": "text", "class": of, "penalty": 1.0 / n, "n_units": n,
         "accuracy": 0.9, "low": 0.8, "high": 1.0, "control_accuracy": 0.5, "selectivity": 0.4, "majority": 0.5,
         "best_unit": HOSTILE, "best_unit_accuracy": 0.8, "best_unit_iou": 0.6}
        for of in CLASSES for n in (1, 3, 9)
    ]  # fmt: skip


def explained(run_dir: Path) -> None:
    """Explanations and their classification."""
    unit = {"source": "sae", "site": "res", "layer": 0, "unit": 0, "label": "res L0F0"}
    result(run_dir, "explain", {names.UNIT_EXPLANATIONS: [
        {**unit, "explanation": f"recipes {HOSTILE}", "by": "somebody", "origin": "file", "where": "dump.jsonl",
         "retrieved_at": WHEN, "status": "ok", "score": None},
    ]})  # fmt: skip
    rated = [("hand", 0, "yes", None, ""), ("openai:m", 0, "yes", 0.9, "ok"), ("openai:m", 1, "", None, "unparsable"),
             ("embedding", 0, "", 0.3, "ok")]  # fmt: skip
    result(run_dir, "classify", {
        names.CLASSIFICATIONS: [
            {**unit, "class": CLASSES[0], "explanation": "recipes", "rater": rater, "sample": sample, "answer": answer,
             "confidence": confidence, "status": status}
            for rater, sample, answer, confidence, status in rated
        ],
        names.AGREEMENT: [
            {"class": "", "rater_a": "openai:m", "rater_b": "hand", "n": 1, "agreement": 1.0, "kappa": None,
             "low": None, "high": None, "auroc": None, "auroc_low": None, "auroc_high": None},
        ],
    })  # fmt: skip


def steered(run_dir: Path) -> None:
    """A dose-response of one unit beside both kinds of controls."""
    unit = {"source": "sae", "site": "res", "layer": 0, "unit": 0, "label": "res L0F0"}
    result(run_dir, "steer", {names.STEERING: [], names.STEERING_SUMMARY: [
        {**unit, "class": of, "edit": "add", "dose": dose, "role": role, "outcome": outcome, "chosen": dose == 0.5,
         "effect": dose / 4, "low": dose / 5, "high": dose / 3, "control_mean": 0.0, "control_sd": 0.1,
         "control_low": -0.2, "control_high": 0.2, "n_controls": 100, "n_undefined": 0, "win_rate": 0.97,
         "win_low": 0.92, "win_high": 0.99, "p": 0.04, "kl": dose / 10, "perplexity_ratio": 1 + dose,
         "control_kl": 0.1}
        for of in CLASSES for dose in (0.0, 0.5, 1.0) for role in ("random", "matched")
        for outcome in ("effect", "against_others")
    ]})  # fmt: skip


def result(run_dir: Path, mode: Mode, tables: dict[str, list[dict]], facts: dict | None = None) -> None:
    seal = read_meta(run_dir, "collect", CollectMeta).record_sha256
    assert seal is not None
    meta = ResultMeta(stage="poc7_compare_skills", mode=mode, created_at_utc=WHEN, settings={}, wall_seconds=1.0,
                      collect_sha256=seal, facts=facts or {})  # fmt: skip
    write(run_dir, mode, tables, meta)


def write(run_dir: Path, mode: Mode, tables: dict[str, list[dict]], meta: CollectMeta | ResultMeta) -> None:
    with Run.open(run_dir) as run, open_results(run, SKILLS) as writer:
        writer.begin(record_name(mode))
        for stem, rows in tables.items():
            of = TABLES[stem].columns
            write_table(writer, stem, frame_of(rows, list(of)), of)
        writer.record(record_name(mode), meta.model_dump(exclude={"files", "record_sha256"}))


def frame_of(rows: list[dict], wanted: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(wanted))
    return frame.astype({"layer": "Int32"}) if "layer" in frame else frame


def all_modes(run_dir: Path) -> None:
    for make in (collected, compared, explained, steered):
        make(run_dir)
