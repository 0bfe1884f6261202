"""The summary that `--mode write_scores` prints: the neurons with the sharpest scores, and what they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.analysis.report_text import neuron_name, warning_lines, written_line
from neuron_signatures.analysis.writes.analyze import WritesResult
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import WRITES, WRITES_META, WRITES_TOKENS, table_name
from neuron_signatures.runs.tokens import visible

_N_NEURONS, _N_TOKENS = 10, 5


def writes_lines(folder: Path, result: WritesResult, record: dict[str, Any]) -> list[str]:
    """The size of the result, the ten neurons of the highest kurtosis with their tokens, and the files."""
    lines = [
        f"scores   {record['n_neurons']:,} neurons of {len(result.layers)} layers, {record['vocab']:,} tokens; "
        f"the first {record['top']} in each direction",
        f"unit     {record['unit']}",
        "",
        "highest kurtosis over the vocabulary (a negative activation swaps what is promoted and suppressed):",
    ]
    for n in sharpest(result):
        up, down = (" ".join(repr(visible(t)) for t in n[side]) for side in ("promotes", "suppresses"))
        name = neuron_name(n["layer"], n["neuron"])
        lines.append(f"  {name:10}{n['kurtosis']:>8.1f}  promotes {up}  suppresses {down}")
    return [
        *lines,
        "",
        *warning_lines(record["warnings"]),
        written_line(folder, table_name(WRITES), table_name(WRITES_TOKENS), WRITES_META),
    ]


def writes_summary(folder: Path, result: WritesResult, record: dict[str, Any]) -> dict[str, Any]:
    """The same as a JSON record."""
    summary: dict[str, Any] = strict({"run_dir": folder, **record, "highest_kurtosis": sharpest(result)})
    return summary


def sharpest(result: WritesResult) -> list[dict[str, Any]]:
    """The neurons with the highest kurtosis, each with its first tokens in both directions."""
    layers = list(result.layers)
    kurtosis = np.concatenate([result.layers[layer].moments[:, 3] for layer in layers])
    order = np.argsort(-np.where(np.isfinite(kurtosis), kurtosis, -np.inf), kind="stable")[:_N_NEURONS]
    found = []
    for at in order[np.isfinite(kurtosis[order])]:
        layer, neuron = layers[at // result.shape.n_neurons], int(at % result.shape.n_neurons)
        ids = result.layers[layer].ids[neuron, :, :_N_TOKENS].tolist()
        up, down = (token_strings(result.checked.model.tokenizer, side) for side in ids)
        found.append({"layer": layer, "neuron": neuron, "kurtosis": kurtosis[at], "promotes": up, "suppresses": down})
    return found
