"""Cases with known truth for tests of scorers: planted neurons and the puzzles of `tests/data`."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import numpy as np
from paths import TESTS

from neuron_signatures.scoring.passages import Passages, demo_passages
from neuron_signatures.scoring.planted import PlantedKind, plant
from neuron_signatures.scoring.ranking import Case
from neuron_signatures.scoring.texts import Text

PUZZLES = TESTS / "data" / "puzzles.json"


@functools.cache
def passages() -> Passages:
    return demo_passages(2000, seed=0)


def planted_cases(kinds: Sequence[PlantedKind], n: int, *, seed: int) -> list[Case]:
    """`n` neurons of each kind, on the passages of `select`."""
    neurons = [neuron for kind in kinds for neuron in plant(passages(), kind, n, seed=seed)]
    return [Case(p.rule.kind, p.rule.truth, p.false, p.texts(passages(), "select")) for p in neurons]


def puzzle_cases() -> list[Case]:
    puzzles = json.loads(PUZZLES.read_text(encoding="utf-8"))
    return [
        Case(
            puzzle["name"], puzzle["explanation"], tuple(puzzle["false_explanations"]),
            [_text(i, sentence) for i, sentence in enumerate(puzzle["sentences"])],
        )
        for puzzle in puzzles
    ]  # fmt: skip


def _text(number: int, sentence: list[str | list]) -> Text:
    pairs = [(t, 0.0) if isinstance(t, str) else t for t in sentence]
    tokens = tuple(token for token, _ in pairs)
    return Text(number, number, tokens, np.array([a for _, a in pairs], np.float32), np.ones(len(tokens), bool))
