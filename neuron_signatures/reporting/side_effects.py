"""Side effects of an edit, without numbers that say nothing of this model."""

from __future__ import annotations

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.parts import facts, p
from neuron_signatures.runs.intervention_records import SideEffects
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions.checks import side_effect_lines

_SAYS_NOTHING = "its perplexity says nothing"
_CANNOT_LOSE = "so none can be lost"


def side_effects(side: SideEffects | None) -> Html:
    """The side effects and their notes. What a note calls meaningless is left out, and named in one line."""
    if side is None:
        return NOTHING
    rows = side_effect_lines(side)
    left = []
    if side.facts and not side.facts_before:
        rows = [row for row in rows if row[0] != "known facts"]
        left.append("known facts (it knew none before the change)")
    if any(_SAYS_NOTHING in n for n in side.notes):
        rows = [row for row in rows if row[0] != "perplexity"]
        left.append("perplexity of ordinary text (random tokens surprise it less)")
    notes = [n for n in side.notes if not (_SAYS_NOTHING in n or (_CANNOT_LOSE in n and not side.facts_before))]
    if left:
        notes.append(f"Not shown, since they say nothing of this model: {' and '.join(left)}.")
    return join([
        el("h4", "Side effects on text that has nothing to do with it"), facts(rows),
        *(p(brief(n), class_="small") for n in notes),
    ])  # fmt: skip
