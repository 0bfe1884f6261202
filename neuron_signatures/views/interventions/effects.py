"""Tables of effects: the clean and the edited prediction, and the effects of single neurons."""

from __future__ import annotations

import math
from pathlib import Path

from neuron_signatures.runs.intervention_records import EffectRecord, Prediction
from neuron_signatures.views.columns import read_columns
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.labels import difference_name
from neuron_signatures.views.interventions.sheets import Kind, Sheet, Value, columns

MOST_ROWS = 1000
_COLUMNS: tuple[tuple[str, str, Kind, str], ...] = (
    ("rank", "#", "count", "Order by size of the effect."),
    ("neuron", "neuron", "text", ""),
    ("effect", "effect", "signed", "Change of the target function when this neuron alone is edited."),
    ("p", "p", "p", "Against random neurons of the layer; empty where not tested."),
    ("act", "act", "signed", "Activation of the unedited prompt."),
    ("value", "new value", "signed", ""),
    ("probability", "Δ p", "signed", "Change of the target's probability."),
    ("rank_before", "rank before", "count", "Of the target; 0 is the most likely token."),
    ("rank_after", "rank after", "count", "Of the target; 0 is the most likely token."),
    ("kl", "KL", "size", "From the clean prediction, in nats."),
    ("difference", "Δ difference", "signed", "Change of the logit difference."),
    ("logprob", "Δ log p", "signed", "Change of the target's log probability, in nats."),
    ("z", "z", "signed", ""),
    ("n_random", "random", "count", "Random neurons drawn."),
    ("delta_norm", "norm", "size", "Norm of the change in the residual stream."),
)


def prediction_sheet(record: EffectRecord) -> Sheet:
    """The clean prediction, that with the whole set edited, and the change."""
    rows: list[list[Value]] = [["clean", *_numbers(record.clean)]]
    if record.as_set is not None:
        clean, edited = _numbers(record.clean), _numbers(record.as_set)
        change = [None if a is None or b is None else b - a for a, b in zip(clean, edited, strict=True)]
        rows += [["edited", *edited], ["change", *change]]
    shown = columns(
        ("prediction", "text"), (difference_name(record.target), "signed", "Before the soft cap."),
        ("log p", "signed", "Of the target, in nats."), ("p", "size", "Of the target."),
        ("rank", "count", "Of the target; 0 is the most likely token."), ("KL", "size", "From the clean one, in nats."),
    )  # fmt: skip
    return Sheet("Clean and edited" if record.as_set else "Clean prediction", shown, rows)


def single_effects(run_dir: Path, stem: str) -> Sheet:
    """The effects of single neurons, in order of rank, at most `MOST_ROWS`.

    Raises `UsageError` if there is no such table, `BadRunError` if it is damaged.
    """
    names = [name for name, *_ in _COLUMNS if name != "neuron"]
    table = read_columns(run_dir, stem, ("layer", "neuron", "pole", *names))
    n = len(table)
    table = table.sort_by("rank")[:MOST_ROWS]
    place = [table.column(name).to_pylist() for name in ("layer", "neuron", "pole")]
    neurons = [NeuronAt(layer, neuron) for layer, neuron, _ in zip(*place, strict=True)]
    values = {name: [_finite(v) for v in table.column(name).to_pylist()] for name in names}
    values["neuron"] = [f"{at.label}{pole}" for at, pole in zip(neurons, place[2], strict=True)]
    rows = [[values[name][i] for name, *_ in _COLUMNS] for i in range(len(table))]
    note = f"the first {len(table):,} of {n:,}" if n > len(table) else ""
    shown = columns(*((heading, kind, help) for _, heading, kind, help in _COLUMNS))
    return Sheet("Single neurons", shown, rows, neurons, note).without_empty()


def _numbers(p: Prediction) -> list[float | int | None]:
    return [p.difference, p.logprob, p.probability, p.rank, p.kl]


def _finite(value: float | None) -> Value:
    return None if value is None or not math.isfinite(value) else value
