"""The texts that are steered: some of each class and half, as token ids; and neutral texts for the price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Int

from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import context_length, encode_text
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.names import Half

if TYPE_CHECKING:
    import pandas as pd

FEWEST_TOKENS = 3
"""The first token is not predicted, and the second is predicted from a position that is not changed."""


@dataclass(frozen=True)
class ClassTexts:
    """Token ids of texts, with their numbers in the table of texts; `rows` are the indices of each class's texts."""

    ids: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]
    rows: Mapping[str, Int[np.ndarray, " text"]]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.rows)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.ids))


@dataclass(frozen=True)
class Encoding:
    """How texts become tokens: at most `max_tokens` of them, BOS included."""

    model: LoadedModel
    prepend_bos: bool
    max_tokens: int

    def ids(self, text: str) -> tuple[int, ...]:
        most = min(self.max_tokens, context_length(self.model.config) or self.max_tokens)
        return tuple(encode_text(self.model.tokenizer, text, prepend_bos=self.prepend_bos)[:most])


def class_texts(texts: pd.DataFrame, half: Half, *, per_class: int, seed: int, encoding: Encoding) -> ClassTexts:
    """Up to `per_class` random texts of each class in one half, those of at least three tokens.

    Raises `UsageError` if a class has fewer than two.
    """
    ids: list[tuple[int, ...]] = []
    numbers: list[int] = []
    rows: dict[str, np.ndarray] = {}
    of_half = texts[texts["half"] == half]
    for name in sorted(texts["class"].unique()):
        candidates = of_half[of_half["class"] == name]
        order = np.random.default_rng((seed, len(rows))).permutation(len(candidates))
        first = len(ids)
        for at in order:
            if len(ids) - first == per_class:
                break
            found = encoding.ids(candidates["content"].iloc[at])
            if len(found) >= FEWEST_TOKENS:
                ids.append(found)
                numbers.append(int(candidates["text"].iloc[at]))
        if len(ids) - first < 2:
            what = f"class {name} has {len(ids) - first} texts of three tokens or more in half {half}, not two"
            raise UsageError(what, where="the collected texts", next_step="Collect more texts")
        rows[name] = np.arange(first, len(ids))
    return ClassTexts(tuple(ids), tuple(numbers), rows)


N_CLASS_TOKENS: Final = 32
"""Tokens that stand for a class."""


def class_tokens(texts: pd.DataFrame, encoding: Encoding) -> tuple[tuple[int, ...], ...]:
    """Of each class, in the order of their names, the tokens that stand for it: those that are in a larger share of
    its texts of `find` than of the other classes' on average, by the difference, at most `N_CLASS_TOKENS`."""
    of_half = texts[texts["half"] == "find"]
    shares: dict[str, Counter[int]] = {}
    for name in sorted(texts["class"].unique()):
        found = [set(encoding.ids(text)[1:]) for text in of_half.loc[of_half["class"] == name, "content"]]
        shares[name] = Counter({token: n / len(found) for token, n in Counter(chain.from_iterable(found)).items()})
    tokens = []
    for name, own in shares.items():
        others = [share for other, share in shares.items() if other != name]
        more = {t: own[t] - sum(o[t] for o in others) / max(1, len(others)) for t in own}
        best = sorted((t for t in more if more[t] > 0), key=lambda t: (-more[t], t))
        tokens.append(tuple(best[:N_CLASS_TOKENS]))
    return tuple(tokens)


@dataclass(frozen=True)
class NeutralTexts:
    """Token ids of neutral prompts, and of the prose whose perplexity is measured."""

    prompts: tuple[tuple[int, ...], ...]
    prose: tuple[int, ...]


def neutral_texts(neutral: Neutral, encoding: Encoding, *, n_prompts: int) -> NeutralTexts:
    """The prose and the first `n_prompts` prompts; those of fewer than three tokens are left out.

    Raises `UsageError` if the prose has fewer.
    """
    prompts = tuple(ids for p in neutral.prompts if len(ids := encoding.ids(p.text)) >= FEWEST_TOKENS)
    prompts = prompts[:n_prompts]
    prose = encoding.ids(neutral.held_out)
    if len(prose) < FEWEST_TOKENS:
        raise UsageError("its held-out text has fewer than three tokens", where=f"neutral texts ({neutral.name})")
    return NeutralTexts(prompts, prose)
