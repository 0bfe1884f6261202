"""Hand-made tests of a circuit, and what several circuits have in common, written through the real writers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from circuits_made import EVIL, MARKUP

from neuron_signatures.runs.circuits.folder import (
    CHECKS,
    COMMON,
    COMMON_CHECKS,
    COMMON_EDGES,
    COMMON_NODES,
    CURVES,
    MEMBERS,
    SWAPS,
    TABLES,
    circuit_folder,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder


def write_checks(run_dir: Path, name: str = "made") -> None:
    """Two curves and a swap; some numbers are null."""
    curves = [
        {"k": 10, "faithfulness": 0.5, "random_mean": -0.02, "random_sd": 0.05, "p": 1 / 1001, "complement": 0.4,
         "complement_random_mean": 0.99, "complement_random_sd": 0.02, "complement_p": 1 / 1001, "n_random": 1000},
        {"k": 100, "faithfulness": 0.95, "random_mean": 0.01, "random_sd": 0.07, "p": 1 / 1001, "n_random": 1000},
    ]  # fmt: skip
    swaps = [{"group": EVIL, "n_neurons": 3, "other_prompt": "p1", "answer_before": " Austin", "answer_after": MARKUP,
              "answer_other": " Sacramento", "flipped": True, "moved": 12.5, "random_flip_share": 0.02,
              "null_mean": 0.1, "null_sd": 0.3, "p": 1 / 101, "n_null": 100}]  # fmt: skip
    _write(run_dir, name, CHECKS, {CURVES: curves, SWAPS: swaps})


def write_common(run_dir: Path, name: str = "template") -> None:
    """Three nodes of two circuits, one of which is in one only, with tests of the held-out one."""
    node = {"kind": "neuron", "layer": 1, "neuron": 2, "role": "end-1", "n_circuits": 2, "share": 1.0,
            "mean_score": 0.75, "sd_score": 0.25, "mean_activation": 2.0, "sd_activation": 0.5, "varies": False,
            "label": EVIL}  # fmt: skip
    nodes = [
        node,
        {**node, "layer": 0, "neuron": 3, "role": "entity-1", "n_circuits": 1, "share": 0.5, "varies": True,
         "sd_score": None, "label": None},
        {**node, "kind": "embedding", "layer": -1, "neuron": None, "role": MARKUP, "mean_activation": None,
         "sd_activation": None},
    ]  # fmt: skip
    edges = [{"source": 1, "target": 0, "n_circuits": 1, "share": 0.5, "mean_weight": -0.5, "sd_weight": None}]
    members = [{"circuit": "made", "prompt_id": "p0", "entity": EVIL, "target": " Austin", "foil": MARKUP,
                "held_out": False}, {"circuit": "gone", "prompt_id": "p1", "held_out": True}]  # fmt: skip
    _write(run_dir, name, COMMON, {COMMON_NODES: nodes, COMMON_EDGES: edges, MEMBERS: members})
    kept = {"circuit": "gone", "held_out": True, "n_common": 2, "k": 2, "faithfulness": 0.62, "random_mean": 0.01,
            "random_sd": 0.05, "p": 1 / 1001, "complement": 0.31, "n_random": 1000}  # fmt: skip
    _write(run_dir, name, COMMON_CHECKS, {COMMON_CHECKS: [kept]})


def _write(run_dir: Path, name: str, mode: str, tables: dict[str, list[dict]]) -> None:
    with Run.open(run_dir) as run, open_folder(run, circuit_folder(name), mode) as writer:
        for stem, rows in tables.items():
            frame = pd.DataFrame(rows, columns=list(TABLES[stem].columns))
            whole = [c for c, kind in TABLES[stem].columns.items() if kind.startswith("int")]
            writer.table(stem, frame.astype(dict.fromkeys(whole, "Int64")))
        writer.finish(settings={}, facts={})
