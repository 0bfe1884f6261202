"""The explanations of a neuron in a few lines: beside its activations, and in its details."""

from __future__ import annotations

from typing import Any, NamedTuple

from neuron_signatures.runs.records.names import POLES, Pole
from neuron_signatures.tui.layout.text import Line, Span, line, safe, width
from neuron_signatures.tui.scores.lines import scores_record
from neuron_signatures.tui.scores.reading import NeuronScores
from neuron_signatures.views.explanations.provenance import chain_of, provenance
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations, PoleExplanations
from neuron_signatures.views.explanations.texts import one_line, origin, text_or_why

_MOST = 400
"""Characters of an explanation in a pane."""


class PaneFact(NamedTuple):
    label: str
    text: str
    style: str


def explanation_line(found: NeuronExplanations, pole: Pole, columns: int) -> Line:
    """The explanation to read of one pole, else that of the other. The origin is left out where it does not fit."""
    other: Pole = "-" if pole == "+" else "+"
    first = found.pole(pole).first
    if first is None:
        pole, first = other, found.pole(other).first
    if first is None:
        failed = f"; {found.n} failed, E shows them" if found.n else ""
        return line(Span(f"no explanation of this neuron{failed}", "dim"))
    sign = Span(f"{pole} ", "plus" if pole == "+" else "minus")
    text, where = safe(one_line(first.entry.text)), safe(f"  ({origin(first)})")
    label = Span("explained ", "dim")
    if width(text) + width(where) + width("explained + ") <= columns:
        return line(label, sign, Span(text), Span(where, "dim"))
    return line(label, sign, Span(text))


def pane_facts(found: NeuronExplanations) -> list[PaneFact]:
    """Both poles with the origin of what is read first, and how many others there are."""
    facts = []
    for pole in POLES:
        own = found.pole(pole)
        if (first := own.first) is not None:
            text = one_line(first.entry.text)
            facts.append(PaneFact(f"explained {pole}", text[:_MOST] + ("…" if len(text) > _MOST else ""), ""))
            facts.append(PaneFact("", _origin_and_others(own, first), "dim"))
        elif own.shown:
            facts.append(PaneFact(f"explained {pole}", text_or_why(own.shown[0])[:_MOST], "warn"))
    return facts


def explanations_record(found: NeuronExplanations, scores: NeuronScores | None = None) -> list[dict[str, Any]]:
    """Every explanation of the neuron as data, with its scores if given, in the order to read; texts as stored."""
    return [explanation_record(v, scores) for v in found.shown]


def explanation_record(v: ExplanationView, scores: NeuronScores | None = None) -> dict[str, Any]:
    scored = {} if scores is None else {"scores": scores_record(scores.of(v.entry.id))}
    return {
        **v.entry.model_dump(mode="json", exclude={"kind", "about", "value", "values"}),
        "is_current": v.is_current, "is_chosen": v.is_chosen, "score": v.score, "select_by": v.select_by,
        "votes": [x._asdict() for x in v.votes], "locked_by": v.locked_by, "notes": [x._asdict() for x in v.notes],
        "set_is_finished": v.is_finished, "is_replaced": v.is_replaced,
        "chain": [s._asdict() for s in chain_of(v)], "provenance": dict(provenance(v)), **scored,
    }  # fmt: skip


def _origin_and_others(own: PoleExplanations, first: ExplanationView) -> str:
    more = len(own.shown) - 1
    return origin(first) + (f"; {more} more, E shows all" if more else "")
