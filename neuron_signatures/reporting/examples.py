"""Neurons to show where no ranking answers a question: the best explained ones, else the most selective ones."""

from __future__ import annotations

from typing import NamedTuple

from neuron_signatures.reporting.opened import ReportRun
from neuron_signatures.reporting.score_words import headline, score_name, scorer_name
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.views.records.neuron_order import CorpusNeurons


class Examples(NamedTuple):
    """Poles of different neurons, and by what they were chosen."""

    poles: tuple[NeuronPole, ...]
    why: str


NONE = Examples((), "")


def examples(run: ReportRun, n: int) -> Examples:
    """At most `n` neurons. Raises `BadRunError` for damaged scores or records."""
    return _best_scored(run, n) or _most_selective(run, n) or NONE


def _best_scored(run: ReportRun, n: int) -> Examples | None:
    scores = run.scores.value
    reported = [s for s in scores.sets if s.split == "report" and headline(s)] if scores else []
    if scores is None or not reported:
        return None
    first = max(reported, key=lambda s: s.n_poles)
    table = scores.table(first.name)
    rows = table[table["current"] & (table["score"] == headline(first)) & table["value"].notna()]
    rows = rows.sort_values(["value", "layer", "neuron"], ascending=[False, True, True], kind="stable")
    rows = rows.drop_duplicates(["layer", "neuron"])[:n]
    places = zip(rows["layer"], rows["neuron"], rows["pole"], strict=True)
    why = f"the best explained ones of the set {first.set}, by {score_name(headline(first))} " \
          f"({scorer_name(first.scorer, first.scorer_model)})"  # fmt: skip
    return Examples(tuple(NeuronPole(int(a), int(b), "-" if p == "-" else "+") for a, b, p in places), why)


def _most_selective(run: ReportRun, n: int) -> Examples | None:
    records = run.records.value
    if records is None:
        return None
    neurons = CorpusNeurons(records.neurons())
    rows = [neurons.row(int(i)) for i in neurons.order("kurtosis")[:n]]
    poles = (NeuronPole(*r.at, "-" if abs(r.min or 0.0) > abs(r.max or 0.0) else "+") for r in rows)
    return Examples(tuple(poles), "those with the largest kurtosis on the corpus, which are active rarely and strongly")
