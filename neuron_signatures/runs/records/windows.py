"""A window of text, perhaps with the activations of one neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a document. Tokens are raw strings, without the BOS token that the model may have read first."""

    window: int
    """Its number in corpus order."""
    document: int
    document_name: str
    part: Part
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    counted_from: int
    """The first position that counts; the tokens before it are context."""
    pos: int | None
    """The position of `value`; None in a window that was not chosen by a value."""
    value: float | None
    """The activation at `pos`, with its sign."""
    acts: np.ndarray | None
    """float32, one per token, also where positions do not count; None if this neuron's row is not stored."""


class Pick(NamedTuple):
    """A window that was chosen for a neuron, before its text is read."""

    window: int
    pos: int | None = None
    value: float | None = None
    acts: np.ndarray | None = None


def text_window(corpus: Corpus, pick: Pick) -> Window:
    """The window of a pick. Its number is in the corpus."""
    document = int(corpus.window_document[pick.window])
    row = corpus.document(document)
    ids = tuple(corpus.token_ids(pick.window).tolist())
    return Window(
        window=pick.window, document=document, document_name=row.name, part=PARTS[corpus.document_part[document]],
        token_ids=ids, tokens=tuple(corpus.strings(ids)), counted_from=int(corpus.window_counted_from[pick.window]),
        pos=pick.pos, value=pick.value, acts=pick.acts,
    )  # fmt: skip
