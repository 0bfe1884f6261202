"""What the results of a run say of every neuron, for lists: the tokens that it writes, and where it fires."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import matcher
from neuron_signatures.views.neurons.fires import Fires, read_fires
from neuron_signatures.views.neurons.poles import Poles
from neuron_signatures.views.neurons.written_tokens import Tokens, WrittenTokens, written_tokens
from neuron_signatures.views.records.often import Often, OftenOn, read_often

if TYPE_CHECKING:
    from jaxtyping import Bool

T = TypeVar("T")
N_SHOWN = 5
"""Number of tokens that a list shows; a filter compares all that are stored."""


class Description(NamedTuple):
    """One neuron with one sign of its activation."""

    promotes: tuple[str, ...]
    """Raw tokens whose logits it raises most, with this sign; empty if unknown."""
    suppresses: tuple[str, ...]
    fires: str
    """As displayed: its signature with the number of texts, or its peak tokens; empty if unknown."""
    often: OftenOn = OftenOn()
    """The tokens on which it is strongest most often in a corpus; empty without records."""


class Descriptions(NamedTuple):
    """Read once for a run; None where there is no such result."""

    written: WrittenTokens | None
    fires: Fires | None
    notes: tuple[str, ...]
    """What is missing, with the command that makes it, or damaged."""
    often: Often | None = None

    def of(self, at: NeuronAt, *, negative: bool) -> Description:
        """The neuron with this sign of its activation. Raises `BadRunError` if a token has no text."""
        pole = Poles.one(at, negative=negative)
        tokens = Tokens((), ()) if self.written is None else self.written.of(pole)
        fires = "" if self.fires is None else self.fires.text(pole)
        return Description(*tokens, fires, OftenOn() if self.often is None else self.often.of(pole))

    def writing(self, poles: Poles, pattern: str, *, suppressed: bool = False) -> Bool[np.ndarray, " row"]:
        """Mask of the poles that promote (or suppress) a token that matches `pattern`, among those stored."""
        if self.written is None:
            return np.zeros(len(poles.layer), bool)
        return self.written.matching(poles, pattern, suppressed=suppressed)

    def firing(self, poles: Poles, pattern: str, *, cls: bool = False) -> Bool[np.ndarray, " row"]:
        """Mask of the poles whose signature or peak tokens match; with `cls`, only the class is compared."""
        if self.fires is None:
            return np.zeros(len(poles.layer), bool)
        return self.fires.matching(poles, pattern, cls=cls)

    def peaking(self, poles: Poles, pattern: str) -> Bool[np.ndarray, " row"]:
        """Mask of the poles that are strongest most often on a token that matches."""
        return np.zeros(len(poles.layer), bool) if self.often is None else self.often.matching(poles, pattern)


NOTHING = Descriptions(None, None, ())


def shown_tokens(tokens: Iterable[str], patterns: Iterable[str] = (), n: int = N_SHOWN) -> str:
    """The first `n` tokens as displayed, then further ones that match one of `patterns`, with their rank."""
    every = list(enumerate(tokens, 1))
    later = [f"{visible(t)} (#{i})" for i, t in every[n:] if any(matcher(p)([t])[0] for p in patterns)]
    return " ".join([visible(t) for _, t in every[:n]] + (["…", *later] if later else []))


def read_descriptions(run_dir: Path) -> Descriptions:
    """Write scores, signatures, peaks and records of a run, as far as they exist; damaged ones become notes."""
    command = (
        f"this command computes it: python -m neuron_signatures.poc2_analyze_run --run_dir {shlex.quote(str(run_dir))}"
    )
    notes: list[str] = []
    written = _attempt(
        lambda: written_tokens(run_dir), f"what neurons write is not known; {command} --mode write_scores", notes
    )
    fires = _attempt(
        lambda: read_fires(run_dir), f"where neurons fire is not known; {command} --mode signatures", notes
    )
    often = _attempt(lambda: read_often(run_dir), "", notes)
    return Descriptions(written, fires, tuple(notes), often)


def _attempt(read: Callable[[], T | None], missing: str, notes: list[str]) -> T | None:
    try:
        found = read()
    except (BadRunError, UsageError) as e:
        notes.append(e.line())
        return None
    if found is None and missing:
        notes.append(missing)
    return found
