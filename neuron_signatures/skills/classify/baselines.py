"""Raters without a language model: embeddings, the unit's own AUROC, and what the activations say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.skills.classify.answers import ACTIVATIONS, AUROC, EMBEDDING
from neuron_signatures.skills.classify.items import Pair
from neuron_signatures.skills.classify.rating import Rating


def by_embedding(pairs: Sequence[Pair], classes: Mapping[str, str], *, device: str) -> tuple[list[Rating], str]:
    """Cosine of explanation and class (name and description), and which model; no ratings without the model.

    Empty explanations do not occur: only explanations with a text are rated.
    """
    try:
        from neuron_signatures.models.embedding import load_embedder

        embedder = load_embedder(device=device)
    except EnvironmentProblem as e:
        return [], f"left out: {e.line()}"
    names = list(dict.fromkeys(pair.name for pair in pairs))
    texts = list(dict.fromkeys(pair.of.explanation for pair in pairs))
    name_rows = embedder.embed([f"{name}: {classes[name]}" for name in names])
    text_rows = embedder.embed(texts)
    cosines = text_rows @ name_rows.T
    at_name, at_text = ({value: i for i, value in enumerate(values)} for values in (names, texts))
    ratings = [
        Rating(pair, EMBEDDING, confidence=float(cosines[at_text[pair.of.explanation], at_name[pair.name]]))
        for pair in pairs
    ]
    return ratings, embedder.name


def by_auroc(pairs: Sequence[Pair]) -> list[Rating]:
    """The held-out AUROC of each unit for the class, where it is defined."""
    found = []
    for pair in pairs:
        measured = pair.unit.measured.get(pair.name)
        if measured is not None and not math.isnan(measured.auroc):
            found.append(Rating(pair, AUROC, confidence=measured.auroc))
    return found


def by_activations(pairs: Sequence[Pair]) -> list[Rating]:
    """What the unit's activations say: `yes` for its own class, if its held-out AUROC for it is above 0.5 by its
    interval, `uncertain` if it is not, and `no` for the other classes."""
    found = []
    for pair in pairs:
        measured = pair.unit.measured.get(pair.name)
        if pair.unit.own_class is None or measured is None:
            continue
        own = "yes" if measured.low > 0.5 else "uncertain"
        found.append(Rating(pair, ACTIVATIONS, answer=own if pair.name == pair.unit.own_class else "no"))
    return found
