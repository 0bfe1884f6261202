"""What the command prints: classes beside chance, the first neurons of each, and neighbours beside their null."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.weights.folder import CLASSES, WEIGHTS_FOLDER, WeightClass
from neuron_signatures.weights.facts import classes_beside_chance, neighbour_facts
from neuron_signatures.weights.stage import Finished

_N_FIRST: Final = 3
_ORDER: Final[dict[WeightClass, str]] = {
    "prediction": "logit_kurtosis", "suppression": "logit_kurtosis", "partition": "logit_variance",
    "entropy": "null_share", "token_frequency": "frequency_correlation",
}  # fmt: skip
"""The column by whose size the neurons of a class are ordered."""
_SHOWN: Final = {
    "logit_kurtosis": "kurtosis {:.1f}", "logit_skewness": "skewness {:+.2f}", "logit_variance": "variance {:.2g}",
    "norm_out": "‖w_out‖ {:.3g}", "null_share": "in the weakest 2 % {:.2f}",
    "frequency_correlation": "with log count {:+.2f}",
}  # fmt: skip


def weights_lines(run_dir: Path, found: Finished) -> list[str]:
    """For people."""
    facts = found.record.facts
    lines = [
        f"weights  {facts['n_neurons']:,} neurons of {len(found.record.settings['layers'])} layers, {facts['vocab']:,} "
        f"tokens, {found.record.settings['model_dtype']} on {facts['device']}",
        "",
        f"{'class':17}{'neurons':>9}{'share':>9}{'random directions':>20}",
    ]
    for name, chance in classes_beside_chance(found.tables).items():
        lines.append(f"{name:17}{chance.neurons:>9,}{chance.share:>9.2%}{chance.random_share:>20.2%}")
    lines += ["", "the first of each class:"]
    for name, rows in _first(found.tables.neurons):
        lines += [f"  {name:16}{_neuron(row):12}{_numbers(row)}" for row in rows]
    lines += ["", *_neighbour_lines(found), *(f"warning: {w}" for w in found.record.warnings)]
    return [*lines, f"written  {run_dir / WEIGHTS_FOLDER.folder}"]


def weights_summary(run_dir: Path, found: Finished) -> dict[str, Any]:
    """The same as a JSON record."""
    summary: dict[str, Any] = strict({
        "run_dir": run_dir, "settings": found.record.settings, "facts": found.record.facts,
        "first": dict(_first(found.tables.neurons)), "warnings": found.record.warnings,
    })  # fmt: skip
    return summary


def _first(neurons: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name in CLASSES:
        if name in _ORDER:
            own = neurons[neurons["class"] == name]
            order = np.argsort(-own[_ORDER[name]].abs().to_numpy(), kind="stable")[:_N_FIRST]
            yield name, own.iloc[order].to_dict("records")


def _neuron(row: dict[str, Any]) -> str:
    return f"L{row['layer']}N{row['neuron']}"


def _numbers(row: dict[str, Any]) -> str:
    return "  ".join(text.format(row[name]) for name, text in _SHOWN.items() if not pd.isna(row[name]))


def _neighbour_lines(found: Finished) -> Iterator[str]:
    facts = neighbour_facts(found.tables)
    if not facts:
        return
    best = found.tables.neighbours[found.tables.neighbours["rank"] == 1]
    yield "|cosine| with the nearest neuron, and chance (the neuron's coordinates permuted):"
    yield f"  {'weights':9}{'median':>8}{'chance':>9}{'99 %':>8}{'above it':>17}  nearest pair"
    for kind, f in facts.items():
        row = best.loc[best.loc[best["weight"] == kind, "cosine"].abs().idxmax()]
        above = f"{f['n_above']:,.0f} ({f['share_above']:.1%})"
        other = f"L{row['other_layer']}N{row['other_neuron']}"
        yield (
            f"  {kind:9}{f['median']:>8.3f}{f['null_median']:>9.3f}{f['null_high']:>8.3f}{above:>17}  "
            f"L{row['layer']}N{row['neuron']} {other} {row['cosine']:+.3f}"
        )
    yield ""
