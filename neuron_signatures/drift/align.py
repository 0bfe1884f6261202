"""Which tokens of several runs are the same: prompts with equal ids, texts and token ids, and what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32

from neuron_signatures.analysis.tokens.positions import counted_prompts
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.runs.comparisons.folder import TABLES, UNALIGNED
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable


class LeftOut(NamedTuple):
    """A row of the table `unaligned`: what of a run is not compared."""

    checkpoint: int
    what: str
    name: str
    why: str


class Tokens(NamedTuple):
    """The compared tokens of a prompt."""

    prompt: str
    positions: np.ndarray
    token_ids: tuple[int, ...]
    """Of the whole prompt."""


class SomeRows(NamedTuple):
    """Rows of whole prompts, and the places in `rows` at which the prompts begin."""

    rows: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Aligned:
    """The runs that are compared, and the tokens that all of them have."""

    runs: dict[int, Run]
    """By their place in the request."""
    reference: int
    tokens: list[Tokens]
    layers: list[int]
    """Layers that all compared runs store."""
    bos_rule: str
    n_repeated: int
    """Tokens that do not count because the same tokens up to there begin an earlier prompt."""
    n_not_drawn: int
    """Tokens beyond `max_tokens`."""
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return sum(len(t.positions) for t in self.tokens)

    @property
    def starts(self) -> np.ndarray:
        """The first row of every prompt in `acts`."""
        return np.cumsum([0, *(len(t.positions) for t in self.tokens)])[:-1]

    def rows_of_some(self, most: int, seed: int) -> SomeRows:
        """Rows in `acts` of prompts drawn at random while they have at most `most` tokens, and where each begins."""
        few = _draw(self.tokens, most, np.random.default_rng([seed, 3]))
        chosen = {t.prompt for t in few}
        sizes = [len(t.positions) for t in self.tokens]
        rows = np.repeat([t.prompt in chosen for t in self.tokens], sizes)
        return SomeRows(np.flatnonzero(rows), np.cumsum([0, *(len(t.positions) for t in few)])[:-1])

    def acts(self, run: int, layer: int) -> Float32[np.ndarray, "token neuron"]:
        """Activations of one layer at the compared tokens, prompt after prompt."""
        opened = self.runs[run]
        out = np.empty((self.n_tokens, opened.manifest.d_mlp), np.float32)
        for start, tokens in zip(self.starts, self.tokens, strict=True):
            found = opened.acts(opened.prompt(tokens.prompt), layer=layer)
            out[start : start + len(tokens.positions)] = found[tokens.positions]
        return out

    def width(self, run: int) -> int:
        return self.runs[run].manifest.d_mlp

    def unaligned(self) -> pd.DataFrame:
        return unaligned_table(self.left_out)


def unaligned_table(rows: Sequence[LeftOut]) -> pd.DataFrame:
    names = [row._replace(name=encodable(row.name)) for row in rows]  # ids of format 1 can be any text
    return pd.DataFrame(names, columns=list(TABLES[UNALIGNED].columns))


def pairs_of(order: Sequence[int], reference: int) -> list[tuple[int, int]]:
    """Each run with the reference, then each with the next; no pair twice."""
    found = [(i, reference) for i in order if i != reference]
    return found + [(a, b) for a, b in pairwise(order) if (a, b) not in found and (b, a) not in found]


@contextmanager
def aligned_runs(request: CompareRequest) -> Iterator[Aligned]:
    """Open the runs and align them. Raises `UsageError` if no two runs have a token in common."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Run.open(path)) for path in request.runs]
        yield align(opened, request)


def align(runs: Sequence[Run], request: CompareRequest) -> Aligned:
    """Runs without a common prompt or layer with the reference are left out, then prompts that not all others have."""
    left_out: list[LeftOut] = []
    same: dict[int, dict[str, PromptRecord]] = {}
    reference = runs[request.reference]
    for i, run in enumerate(runs):
        found, why = _same_prompts(run, reference)
        if why or not set(run.layers) & set(reference.layers):
            left_out.append(LeftOut(i, "run", request.labels[i], why or "no layer of the reference is stored"))
        else:
            same[i] = found
    if len(same) < 2:
        raise UsageError(
            "nothing is left to compare: " + "; ".join(f"{row.name}: {row.why}" for row in left_out),
            where=str(reference.path), next_step="Dump the same prompts with models that have the same tokenizer",
        )  # fmt: skip
    kept = {i: runs[i] for i in same}
    common = _common(kept, same, request, left_out)
    layers = sorted(set.intersection(*(set(run.layers) for run in kept.values())))
    left_out += _other_layers(kept, layers)
    left_out += _other_widths(kept, request)
    counts = counted_prompts(reference, first_pos=request.first_pos, include_bos=request.include_bos)
    start = {c.prompt.probe_id: c.start for c in counts.prompts}
    prompts = [p for p in reference.prompts if p.probe_id in common and p.probe_id in start]
    tokens, n_repeated = _distinct(prompts, start)
    drawn = _draw(tokens, request.drawn.max_tokens, np.random.default_rng(request.drawn.seed))
    if not drawn:
        what = "no token is left to compare"
        raise UsageError(what, where=str(reference.path), next_step="Use longer prompts, or a smaller --first_pos")
    not_drawn = sum(len(t.positions) for t in tokens) - sum(len(t.positions) for t in drawn)
    return Aligned(kept, request.reference, drawn, layers, counts.bos_rule, n_repeated, not_drawn, left_out)


def _same_prompts(run: Run, reference: Run) -> tuple[dict[str, PromptRecord], str]:
    """The prompts that are the same in both; if there are none, why."""
    own, units = run.manifest.units, reference.manifest.units
    if (own and own.source) != (units and units.source):
        return {}, "its units are not those of the reference (neurons, or directions of one source)"
    texts = {p.probe_id: p for p in reference.prompts}
    same_text = [p for p in run.prompts if (q := texts.get(p.probe_id)) is not None and q.text == p.text]
    if not same_text:
        return {}, "no prompt has the id and the text of one of the reference"
    found = {p.probe_id: p for p in same_text if p.token_ids == texts[p.probe_id].token_ids}
    if not found:
        what = counted(len(same_text), "prompt")
        return {}, f"the token ids of all {what} with the same text differ (another tokenizer, or another BOS)"
    return found, ""


def _common(
    runs: dict[int, Run], same: dict[int, dict[str, PromptRecord]], request: CompareRequest, left_out: list[LeftOut]
) -> set[str]:
    """Ids of the prompts that all runs have, with finite values only."""
    reference = runs[request.reference]
    common = set.intersection(*(set(found) for found in same.values()))
    for i, run in runs.items():
        other = {p.probe_id: p for p in run.prompts}
        for p in reference.prompts:
            if p.probe_id not in same[i]:
                mine = other.get(p.probe_id)
                why = "is missing" if mine is None else "has another text" if mine.text != p.text else "other token ids"
                left_out.append(LeftOut(i, "prompt", p.probe_id, why))
        known = {p.probe_id for p in reference.prompts}
        left_out += [LeftOut(i, "prompt", p, "is not in the reference") for p in other if p not in known]
        broken = [p.probe_id for p in run.prompts if p.nonfinite and p.probe_id in common]
        left_out += [LeftOut(i, "prompt", p, "has values that are NaN or infinite") for p in broken]
        common -= set(broken)
    return common


def _other_layers(runs: dict[int, Run], layers: list[int]) -> list[LeftOut]:
    every = sorted({layer for run in runs.values() for layer in run.layers})
    return [
        LeftOut(i, "layer", str(layer), "is not stored")
        for i, run in runs.items() for layer in every if layer not in layers and layer not in run.layers
    ]  # fmt: skip


def _other_widths(runs: dict[int, Run], request: CompareRequest) -> list[LeftOut]:
    width = runs[request.reference].manifest.d_mlp
    return [
        LeftOut(i, "neurons", request.labels[i],
                f"{run.manifest.d_mlp} neurons per layer, the reference has {width}: no comparison by index")
        for i, run in runs.items() if run.manifest.d_mlp != width
    ]  # fmt: skip


def _distinct(prompts: Sequence[PromptRecord], start: dict[str, int]) -> tuple[list[Tokens], int]:
    """The counted tokens of each prompt that do not repeat an earlier prompt, and how many do.

    In a causal model activations are a function of the tokens up to there: the common beginning of prompts is one
    observation, not many.
    """
    seen: set[bytes] = set()
    found, n_repeated = [], 0
    for p in prompts:
        positions = []
        for pos, digest in enumerate(_prefixes(p.token_ids)):
            if pos < start[p.probe_id]:
                continue
            if digest in seen:
                n_repeated += 1
            else:
                seen.add(digest)
                positions.append(pos)
        if positions:
            found.append(Tokens(p.probe_id, np.array(positions), tuple(p.token_ids)))
    return found, n_repeated


def _prefixes(token_ids: Sequence[int]) -> Iterator[bytes]:
    """A digest of the tokens up to each position."""
    digest = hashlib.blake2b(digest_size=16)
    for token in token_ids:
        digest.update(token.to_bytes(8, "little"))
        yield digest.digest()


def _draw(tokens: list[Tokens], most: int, rng: np.random.Generator) -> list[Tokens]:
    """Whole prompts in random order while they fit, at least one; returned in order of the run."""
    total = 0
    chosen: list[int] = []
    for i in rng.permutation(len(tokens)):
        if chosen and total + len(tokens[i].positions) > most:
            break
        chosen.append(int(i))
        total += len(tokens[i].positions)
    return [tokens[i] for i in sorted(chosen)]
