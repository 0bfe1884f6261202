"""A neuron at large as facts: weight class, related neurons, clusters, meanings, n-grams."""

from __future__ import annotations

from typing import Any

from neuron_signatures.tui.layout.facts import Fact
from neuron_signatures.views.at_large.commands import MODE_WORDS
from neuron_signatures.views.at_large.neuron import AtLarge
from neuron_signatures.views.at_large.texts import (
    cluster_words,
    group_words,
    meaning_sentence,
    neighbours_words,
    ngram_words,
    poles_of,
    similar_words,
    weights_sentence,
)

_N = 4
"""Neurons, and n-grams, of a line."""
_WEIGHTS = {"output": "like w_out", "input": "like w_in", "gate": "like gate"}


def at_large_facts(known: AtLarge) -> list[Fact]:
    """Nothing about what the run does not have."""
    facts = [Fact("weights", weights_sentence(known.weights))] if known.weights is not None else []
    related = [("like acts", similar_words(known.similar, "activation", "", _N))]
    related += [(f"like texts {pole}", similar_words(known.similar, "windows", pole, _N)) for pole in "+-"]
    related += [(label, neighbours_words(known.neighbours, weight, _N)) for weight, label in _WEIGHTS.items()]
    facts += [Fact(label, text) for label, text in related if text]
    facts += [Fact("cluster", f"{m.clustering}: {cluster_words(m)}") for m in known.clusters]
    for m in known.meanings:
        facts.append(Fact(f"meanings {m.pole}", meaning_sentence(m)))
        facts += [Fact("", f"{g.group + 1}: {group_words(g)}") for g in m.groups[:_N]]
    for pole in poles_of(known):
        facts.append(Fact(f"n-grams {pole}", ngram_words(known.ngrams, pole, _N)))
    facts += [Fact("fault", problem, "warn") for problem in known.problems]
    if known.outdated:
        late = ", ".join(MODE_WORDS.get(mode, mode) for mode in known.outdated)
        facts.append(Fact("outdated", f"made before the records changed: {late}", "warn"))
    return facts


def at_large_record(known: AtLarge | None) -> dict[str, Any] | None:
    """As data; None if no stage looked at neurons at large."""
    if known is None or not known.done:
        return None
    lists = {name: [x._asdict() for x in getattr(known, name)]
             for name in ("neighbours", "similar", "clusters", "ngrams")}  # fmt: skip
    meanings = [{**m._asdict(), "groups": [g._asdict() for g in m.groups]} for m in known.meanings]
    weights = None if known.weights is None else known.weights._asdict()
    return {"done": list(known.done), "weights": weights, **lists, "meanings": meanings,
            "problems": list(known.problems), "outdated": list(known.outdated)}  # fmt: skip
