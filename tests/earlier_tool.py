"""Result files as the earlier tool of this method writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STEM = "influence_first_dla_next_token_pos2_tok7"
_PEAKS = {
    "std_peak_abs": 0.5, "max_peak_abs": 4.0, "min_peak_abs": 0.0, "frac_peak_functional": 0.5,
    "mode_peak_token_id": 3, "mode_peak_token_count": 1, "n_unique_peak_token_id": 2, "mode_peak_ctx_idx": 1,
    "mode_peak_ctx_count": 1, "n_unique_peak_ctx_idx": 2,
}  # fmt: skip
_TARGET = {
    "prompt_id": "first", "target_token_id": 7, "target_token_ascii": " Austin", "target_pos": 2, "ctx_idx": 2,
    "metric": "dla", "target_mode": "next_token",
}  # fmt: skip


def peak_rows(tokens: Sequence[str] = (" a", " b", " c")) -> list[dict[str, Any]]:
    """Neurons of layers 0 and 1 with scores 1, 2 and 3."""
    return [
        {"layer": i % 2, "neuron": i, "mean_peak_abs": i + 1.0, **_PEAKS, "mode_peak_token_ascii": t}
        for i, t in enumerate(tokens)
    ]


def write_peaks(run_dir: Path, *, csv_file: bool = True, tokens: Sequence[str] = (" a", " b", " c")) -> None:
    """`neurons_aggregated.csv` (unless `csv_file` is False), `top_neurons.json` and their record."""
    rows = peak_rows(tokens)
    if csv_file:
        write_csv(run_dir / "analysis" / "neurons_aggregated.csv", rows)
    _write_json(run_dir / "analysis" / "top_neurons.json", rows)
    _write_json(
        run_dir / "analysis" / "analysis_meta.json",
        {"created_at_utc": "2025-01-01T00:00:00Z", "run_dir": "runs/x", "mode": "peaks", "n_prompts": 2, "top_k": 200},
    )


def write_influence(
    run_dir: Path, *, stem: str = STEM, record: bool = True, kinds: Sequence[str] = ("csv", "json")
) -> None:
    rows = [
        {
            "layer": 0,
            "neuron": i,
            "activation": 1.5,
            "influence": v,
            "abs_influence": abs(v),
            **_TARGET,
            "w_to_logit": 1.0,
        }
        for i, v in enumerate((0.5, -2.0, 1.0))
    ]
    if "csv" in kinds:
        write_csv(run_dir / "analysis" / f"{stem}.csv", rows)
    if "json" in kinds:
        _write_json(run_dir / "analysis" / f"{stem}.json", rows)
    if record:
        made = {"created_at_utc": "2025-01-02T00:00:00Z", "run_dir": "runs/x", "mode": "influence"}
        _write_json(run_dir / "analysis" / f"{stem}_meta.json", {**made, **_TARGET})


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_json(path: Path, record: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2))
