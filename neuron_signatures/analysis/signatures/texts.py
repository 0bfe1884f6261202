"""Which peaks are on different texts: prompts with the same beginning are one observation up to where they differ.

A causal model computes the activation at a position from the tokens up to it. Eleven prompts that begin with "The
capital of" therefore have the same activations there, and a peak on " of" in all of them is one peak, seen eleven
times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32

from neuron_signatures.analysis.tokens.positions import CountedPrompt


def text_codes(prompts: Sequence[CountedPrompt]) -> list[Int32[np.ndarray, " _"]]:
    """For each counted position, a code of the text up to and including it (the token ids from position 0 on)."""
    seen: dict[tuple[int, int], int] = {}
    out = []
    for p in prompts:
        text, codes = -1, []
        for token_id in p.prompt.token_ids:
            text = seen.setdefault((text, token_id), len(seen))
            codes.append(text)
        out.append(np.array(codes[p.start :], np.int32))
    return out


def first_of_text(
    codes: Sequence[Int32[np.ndarray, " _"]],
    pos: Int32[np.ndarray, "prompt neuron"],
    active: Bool[np.ndarray, "prompt neuron"],
) -> Bool[np.ndarray, "prompt neuron"]:
    """The active prompts, without those whose text up to the peak at `pos` is that of an earlier active prompt."""
    text = np.stack([code[at] for code, at in zip(codes, pos, strict=True)])
    text[~active] = -1
    order = np.argsort(text, axis=0, kind="stable")
    ranked = np.take_along_axis(text, order, axis=0)
    first = ranked >= 0
    first[1:] &= ranked[1:] != ranked[:-1]
    out = np.empty_like(first)
    np.put_along_axis(out, order, first, axis=0)
    return out
