"""What an edit of one neuron changes in what the model predicts and writes, as a judge is shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from neuron_signatures.scoring.outputs.asking import shown

if TYPE_CHECKING:
    from neuron_signatures.scoring.outputs.copies import CopyEdit
    from neuron_signatures.scoring.outputs.loaded import LoadedSubject

N_TOKENS: Final = 8
"""Of each direction."""
N_NEW: Final = 12
"""Tokens of a continuation."""
LEAST_PROBABILITY: Final = 1e-4
"""A token must have it before or after the edit, as the mean over the texts, to be shown: the largest changes of the
log-probability are those of tokens that the model never says."""


class TokenChange(NamedTuple):
    """Mean probabilities over the texts."""

    token: str
    before: float
    after: float


@dataclass(frozen=True)
class Changes:
    """Tokens whose mean log-probability rose or fell most, the largest change first; and a text as the model continues
    it without and with the edit; None where no text is continued."""

    rose: tuple[TokenChange, ...]
    fell: tuple[TokenChange, ...]
    before: str | None = None
    after: str | None = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"rose": _rows(self.rose), "fell": _rows(self.fell)}
        if self.before is None or self.after is None:
            return found
        return {**found, "before": shown(self.before), "after": shown(self.after)}


def measure_changes(
    subject: LoadedSubject, layer: int, edit: CopyEdit, texts: Sequence[Sequence[int]], *, continued: bool
) -> Changes:
    """Averages over the next-token predictions of texts of token ids; with `continued` the first text is continued."""
    from neuron_signatures.scoring.outputs.copies import CopyEdit

    both = [CopyEdit.none(), edit]
    found = [subject.copies(ids, layer).logprobs(both).double().numpy() for ids in texts]
    logprobs = np.mean(found, axis=0)
    before, after = np.mean([np.exp(one) for one in found], axis=0)
    change = np.where(np.maximum(before, after) >= LEAST_PROBABILITY, logprobs[1] - logprobs[0], 0.0)
    order = np.argsort(-change, kind="stable")
    risen = [i for i in order[:N_TOKENS] if change[i] > 0]
    fallen = [i for i in order[::-1][:N_TOKENS] if change[i] < 0]
    names = dict(zip([*risen, *fallen], subject.tokens([int(i) for i in (*risen, *fallen)]), strict=True))
    rose, fell = (
        tuple(TokenChange(names[i], float(before[i]), float(after[i])) for i in ids) for ids in (risen, fallen)
    )
    if not continued:
        return Changes(rose, fell)
    new = subject.copies(texts[0], layer).continuations(both, N_NEW)
    return Changes(rose, fell, *(subject.continued(texts[0], ids) for ids in new))


def example_changes() -> Changes:
    """Of about the length of real ones, for forecasts."""
    row = TokenChange(" token", 0.0123, 0.0456)
    return Changes((row,) * N_TOKENS, (row,) * N_TOKENS, " word" * N_NEW, " word" * N_NEW)


def _rows(changes: Sequence[TokenChange]) -> list[list[Any]]:
    return [[shown(c.token), float(f"{c.before:.2g}"), float(f"{c.after:.2g}")] for c in changes]
