"""Labelled texts as token ids, and which positions count."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.records.corpus.encode import encode_documents
from neuron_signatures.skills.collect.texts.choose import ChosenText, ChosenTexts, refuse_small_classes

SHORTEST = 2
"""Positions that count in a text that is used."""
_AT_ONCE = 256
# A long text is cut before it is tokenised; a prefix of this many characters per token has enough tokens nearly always.
_CHARACTERS = 16


@dataclass(frozen=True, eq=False)
class TokenisedTexts:
    """Texts in order. `ids` begin with the BOS if there is one; positions from `first_pos` on count. `contents` are the
    texts; of a truncated one a beginning that has all its `ids`."""

    texts: tuple[ChosenText, ...]
    contents: tuple[str, ...]
    ids: tuple[Int[np.ndarray, " pos"], ...]
    truncated: tuple[bool, ...]
    first_pos: int
    n_duplicates: int
    n_ambiguous: int
    n_too_short: int

    @property
    def n_counted(self) -> Int[np.ndarray, " text"]:
        """Positions that count in each text."""
        return np.array([len(i) - self.first_pos for i in self.ids], np.int64)

    def classes(self) -> dict[str, dict[str, int]]:
        """Texts by class and skill, both in order of name."""
        counts: dict[str, Counter[str]] = {}
        for text in self.texts:
            counts.setdefault(text.cls, Counter())[text.skill] += 1
        return {cls: dict(sorted(skills.items())) for cls, skills in sorted(counts.items())}

    def sha256(self) -> str:
        """Identifies texts, labels and tokens."""
        digest = hashlib.sha256(str(self.first_pos).encode())
        for text, ids in zip(self.texts, self.ids, strict=True):
            digest.update("\0".join((text.cls, text.skill, text.sha256)).encode() + b"\0\0")
            digest.update(ids.tobytes())
        return digest.hexdigest()


def tokenise(
    chosen: ChosenTexts, tokenizer: TokenizerBase, *, bos_token_id: int | None, max_length: int, skip_first: int,
    where: str,
) -> TokenisedTexts:  # fmt: skip
    """The texts, each cut after `max_length` tokens (its BOS counts).

    The first `skip_first` positions do not count, and never the BOS. Texts with fewer than two positions that count
    are left out. Raises `UsageError` if a class is then too small.
    """
    bos = [] if bos_token_id is None else [bos_token_id]
    first_pos = max(skip_first, len(bos))
    kept: list[tuple[ChosenText, str, np.ndarray, bool]] = []
    room = max_length - len(bos)
    for start in range(0, len(chosen.texts), _AT_ONCE):
        texts = chosen.texts[start : start + _AT_ONCE]
        for text, (content, ids) in zip(texts, _encoded(tokenizer, [t.text for t in texts], room), strict=True):
            whole = np.concatenate([np.array(bos, np.int32), ids[:room]])
            if len(whole) - first_pos >= SHORTEST:
                kept.append((text, content, whole, len(ids) > room))
    refuse_small_classes(Counter(text.cls for text, *_ in kept), where)
    return TokenisedTexts(
        texts=tuple(text for text, *_ in kept),
        contents=tuple(content for _, content, *_ in kept),
        ids=tuple(ids for *_, ids, _ in kept),
        truncated=tuple(cut for *_, cut in kept),
        first_pos=first_pos,
        n_duplicates=chosen.n_duplicates,
        n_ambiguous=chosen.n_ambiguous,
        n_too_short=len(chosen.texts) - len(kept),
    )


def _encoded(tokenizer: TokenizerBase, texts: Sequence[str], room: int) -> list[tuple[str, np.ndarray]]:
    """Each text with its token ids; of a long one a beginning with more than `room` tokens."""
    limit = _CHARACTERS * (room + 1)
    beginnings = [t[:limit] for t in texts]
    found = []
    for text, beginning, ids in zip(texts, beginnings, encode_documents(tokenizer, beginnings), strict=True):
        # the last tokens of a beginning can differ from those of the whole text
        whole = len(text) > limit and len(ids) < 2 * room
        found.append((text, encode_documents(tokenizer, [text])[0]) if whole else (beginning, ids))
    return found
