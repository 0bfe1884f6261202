"""The run's own explanations of neurons (stage 5), with their scores (stage 6)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.runs.skills.banks import NEURONS
from neuron_signatures.runs.skills.units import Unit
from neuron_signatures.skills.explain.explained import Explained

DEFAULT_SCORE: Final = "correlation/uniform"
"""The headline of stage 6's simulators."""


class _Score(NamedTuple):
    value: float
    name: str


def read_run(
    run_dir: Path, wanted: Collection[Unit], *, sets: Collection[str] | None, score: str
) -> Iterator[Explained]:
    """The current explanations of the wanted neurons, of all sets or of those named; all modes of each.

    A pole of which a set has only failed explanations gives the newest one's status. `score` is the name of a score of
    stage 6; if several scorers have it, the first by name that is defined counts. Raises `UsageError` for a set that
    does not exist.
    """
    neurons = [unit for unit in wanted if unit.bank.source == NEURONS]
    if not neurons or (sets is None and not Explanations.exist(run_dir)):
        return
    explanations = Explanations.open(run_dir, sets=None if sets is None else list(sets))
    scored = _scores(run_dir, score)
    for unit in neurons:
        pole: Pole = "+" if unit.pole == "+" else "-"
        failed: Explained | None = None
        for shown in explanations.of(unit.bank.layer, unit.number, pole):
            entry = shown.entry
            by = entry.author_name or "human" if entry.author == "human" else entry.model or entry.explainer
            if entry.author == "model" and entry.model not in (None, "none"):
                by = f"{entry.explainer} {entry.model}"
            found = Explained(
                unit, entry.text, by, "run", f"{entry.set} {entry.id}", entry.created_at_utc, status=entry.status,
                reason=entry.reason, score=scored[entry.id].value if entry.id in scored else None,
                score_name=scored[entry.id].name if entry.id in scored else "",
            )  # fmt: skip
            if shown.current and entry.status == "ok":
                failed = None
                yield found
            elif entry.status != "ok" and not shown.replaced:
                failed = found
        if failed is not None:
            yield failed


def _scores(run_dir: Path, score: str) -> dict[str, _Score]:
    """By id of the explanation. Values on `select` are for choosing, and do not count."""
    found: dict[str, _Score] = {}
    scores = Scores.open(run_dir)
    for scored in scores.sets:
        if scored.split == "select" or score not in scored.score_names:
            continue
        table = scores.table(scored.name)
        table = table[(table["score"] == score) & table["value"].notna()]
        for explanation, value in zip(table["explanation_id"], table["value"], strict=True):
            found.setdefault(explanation, _Score(float(value), f"{score} {scored.scorer}"))
    return found
