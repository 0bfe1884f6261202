"""Answers of the Query view: tokens that excite a set of neurons, and neurons that a token excites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.data.neuron_stats import NeuronStats, Progress, neuron_at, no_progress
from neuron_signatures.dashboard.data.run_tokens import JOINT, Grams, TokenIndex, TokenKind, gram_ends, shown_gram
from neuron_signatures.dashboard.data.sample import draw
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

RankBy = Literal["mean", "max", "min"]
RANKS: tuple[RankBy, ...] = ("mean", "max", "min")
MAX_OCCURRENCES = 500
"""Maximum number of occurrences of a token that are read."""
LONGEST_GRAM = 3


class GramRow(NamedTuple):
    """Statistics of the response at the last token of an n-gram, over its occurrences."""

    gram: tuple[TokenKind, ...]
    n: int
    """Occurrences with a finite value."""
    mean: float
    max: float
    min: float
    std: float
    """Population standard deviation."""
    prompt_index: int
    prompt_id: str
    pos: int
    """The occurrence with the largest value, or the smallest when ranked by `min`."""


class GramTable(NamedTuple):
    """The first rows of a ranking."""

    rows: list[GramRow]
    n_groups: int
    """Distinct n-grams in the run."""
    n_frequent: int
    """Of these, n-grams with at least the minimum number of occurrences."""
    n_nonfinite: int
    """Occurrences excluded because the value is not finite."""


class Excited(NamedTuple):
    """Every neuron's mean over occurrences of a token or n-gram, in the flat order of neurons."""

    mean: Float64[np.ndarray, " neuron"]
    """NaN for a neuron without a finite value at these tokens."""
    n_used: int
    n_found: int
    """Occurrences in the run; if there are many, a seeded draw of them is used."""
    n_nonfinite: int


class NeuronRow(NamedTuple):
    """A neuron at the occurrences of a token. Without the peaks stage, the last four fields are None."""

    rank: int
    at: NeuronAt
    mean: float
    difference: float | None
    """`mean` minus the neuron's mean over all tokens."""
    z: float | None
    """`difference` divided by the neuron's standard deviation over all tokens."""
    mean_all: float | None
    std_all: float | None


NeuronOrder = Literal["z", "difference", "mean"]


def gram_table(
    run: Run, index: TokenIndex, grams: Grams, values: Float32[np.ndarray, " flat"], *, by: RankBy, min_count: int,
    top: int,
) -> GramTable:  # fmt: skip
    """The n-grams with the largest mean or maximum, or the smallest minimum, of `values` at their last token.

    Ties go to the n-gram that occurs first.
    """
    at_end = values[grams.end].astype(np.float64)
    finite = np.isfinite(at_end)
    grouped = pd.Series(at_end)[finite].groupby(grams.group[finite])
    table = grouped.agg(["size", "mean", "max", "min"])
    table["std"] = grouped.std(ddof=0)
    table["example"] = grouped.idxmin() if by == "min" else grouped.idxmax()  # the first of equal values
    frequent = table[table["size"] >= min_count]
    rows = []
    for r in frequent.sort_values(by, ascending=by == "min", kind="stable")[:top].itertuples():
        gram, example = index.gram(int(grams.first[r.Index]), grams.n), int(grams.end[r.example])
        prompt, pos = int(index.prompt[example]), int(index.pos[example])
        rows.append(GramRow(gram, r.size, r.mean, r.max, r.min, r.std, prompt, run.prompts[prompt].probe_id, pos))
    return GramTable(rows, len(grams.first), len(frequent), int((~finite).sum()))


def grams_for(index: TokenIndex, text: str, *, top: int) -> list[tuple[TokenKind, ...]]:
    """The n-grams of up to three tokens of the run that `text` may mean, the likeliest first.

    First those that it spells, ignoring case and a leading space: raw, as displayed (`·Austin`), or as displayed with a
    bar between tokens. Then the tokens that contain it, as in `views.search`, most frequent first: `Texas` finds
    `·Texas`. In double quotes it is exactly one token. An empty text gives all tokens.
    """
    if len(text) > 2 and text[0] == text[-1] == '"':
        found = [k for k in _counted_kinds(index) if text[1:-1] in (k.token, visible(k.token))]
        return [(k,) for k in found[:top]]
    low = text.casefold().replace(JOINT, "")
    holding = [k for k in _counted_kinds(index) if low in k.token.casefold() or low in visible(k.token).casefold()]
    return list(dict.fromkeys([*_grams_that_read(index, text), *((k,) for k in holding)]))[:top]


def _counted_kinds(index: TokenIndex) -> list[TokenKind]:
    """The distinct included tokens, most frequent first."""
    counts = np.bincount(index.code[index.counts], minlength=len(index.kinds))
    return [index.kinds[c] for c in np.argsort(-counts, kind="stable") if counts[c]]


def _grams_that_read(index: TokenIndex, text: str) -> list[tuple[TokenKind, ...]]:
    """The n-grams that `text` spells: with the same leading space first, then in order of first occurrence."""
    if not text:
        return []
    wanted = text.casefold()
    starts = np.array([_begins(wanted, kind) for kind in index.kinds], bool)
    found: dict[tuple[TokenKind, ...], bool] = {}
    for begin in np.flatnonzero(starts[index.code] & index.counts) if len(starts) else ():
        for n in range(1, LONGEST_GRAM + 1):
            end = int(begin) + n - 1
            if end >= len(index.code) or index.prompt[end] != index.prompt[begin]:
                break
            gram = index.gram(end, n)
            if gram not in found and wanted.lstrip(_SPACES) in (f.lstrip(_SPACES) for f in _spellings(gram)):
                found[gram] = wanted in _spellings(gram)
    return sorted(found, key=lambda g: not found[g])


_SPACES = " ·"


def _spellings(gram: tuple[TokenKind, ...]) -> tuple[str, str, str]:
    forms = ("".join(k.token for k in gram), "".join(visible(k.token) for k in gram), shown_gram(gram))
    return forms[0].casefold(), forms[1].casefold(), forms[2].casefold()


def _begins(wanted: str, kind: TokenKind) -> bool:
    """Whether a text may begin with this token, apart from leading spaces."""
    bare = (kind.token.casefold().lstrip(_SPACES), visible(kind.token).casefold().lstrip(_SPACES))
    return bool(kind.token) and wanted.lstrip(_SPACES).startswith(bare)


def ends_of(index: TokenIndex, gram: tuple[TokenKind, ...]) -> Int64[np.ndarray, " occurrence"]:
    """Flat index of the last token of every occurrence within a prompt, of included tokens only."""
    codes = {kind: c for c, kind in enumerate(index.kinds)}
    ends: np.ndarray = gram_ends(index, len(gram))
    for back, kind in enumerate(reversed(gram)):
        ends = ends[index.code[ends - back] == codes.get(kind, -1)]
    return ends


def excited_by(
    run: Run, index: TokenIndex, ends: Int64[np.ndarray, " occurrence"], *, at_most: int, seed: int,
    progress: Progress = no_progress,
) -> Excited:  # fmt: skip
    """The mean of every stored neuron over these tokens; reads only these tokens."""
    used = draw(ends, at_most, seed)
    total = np.zeros(len(run.layers) * run.manifest.d_mlp)
    n = np.zeros(len(total), np.int64)
    for done, flat in enumerate(used):
        progress(done, len(used))
        acts = run.acts(int(index.prompt[flat]), pos=int(index.pos[flat])).reshape(-1)
        finite = np.isfinite(acts)
        total += np.where(finite, acts, 0)
        n += finite
    progress(len(used), len(used))
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return Excited(mean, len(used), len(ends), int((len(used) - n).sum()))


def most_excited(
    run: Run, excited: Excited, stats: NeuronStats | None, *, by: NeuronOrder, lowest: bool, top: int
) -> list[NeuronRow]:
    """The neurons with the largest (with `lowest`: the smallest) mean, difference or z, without undefined values.

    Ties go to the lowest layer and neuron.
    """
    mean, std = (stats.mean, stats.std) if stats is not None else (None, None)
    difference = z = None
    if mean is not None and std is not None:
        difference = excited.mean - mean
        z = np.divide(difference, std, out=np.full(len(difference), np.nan), where=std > 0)
    key = {"mean": excited.mean, "difference": difference, "z": z}[by]
    if key is None:
        raise ValueError(f"{by} needs the means of the peaks stage")
    order = np.argsort(key if lowest else -key, kind="stable")[:top]
    order = order[np.isfinite(key[order])]
    columns = (difference, z, mean, std)
    return [
        NeuronRow(rank + 1, neuron_at(run, i), float(excited.mean[i]), *(_number(c, i) for c in columns))
        for rank, i in enumerate(order)
    ]


def _number(column: Float64[np.ndarray, " neuron"] | None, i: int) -> float | None:
    return float(column[i]) if column is not None and np.isfinite(column[i]) else None
