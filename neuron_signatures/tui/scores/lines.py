"""The scores of an explanation in a few lines, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.tokens import brief
from neuron_signatures.tui.layout.facts import Fact
from neuron_signatures.tui.scores.reading import Headlines, NeuronScores
from neuron_signatures.views.scores.shown import ScoredExplanation, ShownScore
from neuron_signatures.views.scores.texts import score_sentence, short_number


def score_facts(scored: Sequence[ScoredExplanation], *, whole: bool) -> list[Fact]:
    """The headline of each scorer, or why there is none; `whole`: every score, and the controls of the headlines."""
    facts: list[Fact] = []
    for own in scored:
        for s in own.scores:
            if s.is_headline and (s.is_score or whole):
                facts.append(Fact("scored", scorer_sentence(s), "" if s.row.value is not None else "dim"))
                if whole and s.controls:
                    values = ", ".join(f"{name} {short_number(value)}" for name, value in s.controls)
                    facts.append(Fact("", f"controls: {values}", "dim"))
            elif whole:
                facts.append(Fact("", score_sentence(s.row), "dim"))
    return facts


def scorer_sentence(s: ShownScore) -> str:
    """A score with its scorer, escaped."""
    unfinished = "" if s.is_finished else " (not finished)"
    return f"{brief(s.scorer)}{unfinished}: {score_sentence(s.row)}"


def current_facts(found: NeuronScores) -> list[Fact]:
    """The headlines of the current explanations of both poles, and the logs that cannot be read."""
    facts: list[Fact] = []
    for pole in POLES:
        own = [s for e in found.found for s in e.scores if s.at.pole == pole and s.row.current]
        texts = [scorer_sentence(s) for s in own if s.is_headline and s.is_score]
        facts += [Fact("" if i else f"scored {pole}", text) for i, text in enumerate(texts)]
    return facts + [Fact("scores", p, "warn") for p in found.problems]


def scores_record(scored: Sequence[ScoredExplanation]) -> list[dict[str, Any]]:
    """Every score of an explanation as data."""
    return [{"name": s.name, "is_finished": s.is_finished, **asdict(s.row)} for own in scored for s in own.scores]


def headlines_text(h: Headlines) -> str:
    """What the column of scores is."""
    if not h.score:
        return ""
    others = f"; {h.n_others} more scorer{'s' * (h.n_others > 1)}, E shows all" if h.n_others else ""
    return f"scored: {brief(h.score)} by {brief(h.scorer)}{others}"
