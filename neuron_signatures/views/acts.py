"""Statistics of activations for both viewers. NaN and infinite values are excluded, and their number is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32


class Stats(NamedTuple):
    """Statistics of the included values; positions are in the prompt. Without values, all but the counts are None."""

    n: int
    n_nonfinite: int
    max: float | None
    max_pos: int | None
    min: float | None
    min_pos: int | None
    mean: float | None
    std: float | None
    """Population standard deviation."""

    @property
    def peak_abs(self) -> float | None:
        """The largest |act|; full scale of the bars."""
        return None if self.max is None or self.min is None else max(abs(self.max), abs(self.min))

    @property
    def peak_pos(self) -> int | None:
        """Position of the largest |act|; the maximum wins a tie."""
        if self.max is None or self.min is None:
            return None
        return self.max_pos if abs(self.max) >= abs(self.min) else self.min_pos


class LayerLine(NamedTuple):
    """One layer on one prompt, over all neurons and the included positions; None where no value is finite."""

    layer: int
    max_abs: float | None
    neuron: int | None
    pos: int | None
    """Neuron and position of the largest |act|, whose signed value is `value`."""
    value: float | None
    mean_abs: float | None
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    n_nonfinite: int


class NeuronAct(NamedTuple):
    """A neuron and its activation at one token."""

    at: NeuronAt
    act: float


class OnPrompt(NamedTuple):
    """One neuron on one prompt."""

    prompt_index: int
    prompt: PromptRecord
    values: Float32[np.ndarray, " pos"]
    stats: Stats
    fault: str = ""
    """The file and the reason if it cannot be read; then every value is NaN."""
    fault_line: str = ""
    """The same with the path and the next step."""


def counted(run: Run, prompt: PromptRecord, *, include_bos: bool) -> Bool[np.ndarray, " pos"]:
    """Mask of the included positions: all, or all but the first, BOS or not (see `analysis.tokens.positions`)."""
    mask = np.ones(prompt.seq_len, bool)
    mask[0] = include_bos
    return mask


def stats_of(values: Float32[np.ndarray, " pos"], mask: Bool[np.ndarray, " pos"]) -> Stats:
    """Statistics of the values where `mask` holds; mean and std are computed in float64."""
    finite = mask & np.isfinite(values)
    n, bad = int(finite.sum()), int((mask & ~finite).sum())
    if n == 0:
        return Stats(0, bad, None, None, None, None, None, None)
    high = int(np.where(finite, values, -np.inf).argmax())
    low = int(np.where(finite, values, np.inf).argmin())
    included = values[finite].astype(np.float64)
    mean, std = float(included.mean()), float(included.std())
    return Stats(n, bad, float(values[high]), high, float(values[low]), low, mean, std)


def layer_lines(run: Run, prompt: PromptRecord, *, include_bos: bool) -> Iterator[LayerLine]:
    """One line per stored layer; reads one layer of the prompt at a time."""
    start = int(not counted(run, prompt, include_bos=include_bos)[0])
    for layer in run.layers:
        yield layer_line(layer, run.acts(prompt, layer=layer)[start:], first_pos=start)


def layer_line(layer: int, acts: Float32[np.ndarray, "pos neuron"], *, first_pos: int) -> LayerLine:
    """`acts` begins at position `first_pos` of the prompt; ties go to the first position and the lowest neuron."""
    finite = np.isfinite(acts)
    bad = int(acts.size - finite.sum())
    if bad == acts.size:
        return LayerLine(layer, None, None, None, None, None, None, None, None, None, bad)
    included = acts[finite] if bad else acts.reshape(-1)
    size = np.abs(acts) if not bad else np.where(finite, np.abs(acts), -1)
    pos, neuron = divmod(int(size.argmax()), acts.shape[1])
    magnitude = size.sum(dtype=np.float64) + bad  # each -1 is added back
    return LayerLine(
        layer, float(size[pos, neuron]), neuron, first_pos + pos, float(acts[pos, neuron]),
        float(magnitude / included.size), float(included.mean(dtype=np.float64)),
        float(included.std(dtype=np.float64)),
        float(included.min()), float(included.max()), bad,
    )  # fmt: skip


def top_at(run: Run, prompt: PromptRecord, pos: int, k: int) -> list[NeuronAct]:
    """The `k` neurons of the stored layers with the largest finite |act| at one token, largest first."""
    acts = run.acts(prompt, pos=pos).reshape(-1)
    size = np.where(np.isfinite(acts), np.abs(acts), -1)
    k = min(k, int((size >= 0).sum()))
    first = np.argpartition(-size, k - 1)[:k] if k else np.empty(0, np.intp)
    order = first[np.lexsort((first, -size[first]))]
    d_mlp = run.manifest.d_mlp
    return [NeuronAct(NeuronAt(run.layers[i // d_mlp], int(i % d_mlp)), float(acts[i])) for i in order]


def over_prompts(run: Run, at: NeuronAt, *, include_bos: bool) -> Iterator[OnPrompt]:
    """The neuron on every prompt, in order; reads only this neuron's values."""
    return (on_prompt(run, at, index, include_bos=include_bos) for index in range(len(run.prompts)))


def on_prompt(run: Run, at: NeuronAt, index: int, *, include_bos: bool) -> OnPrompt:
    prompt = run.prompts[index]
    values = run.acts(prompt, layer=at.layer, neuron=at.neuron)
    return OnPrompt(index, prompt, values, stats_of(values, counted(run, prompt, include_bos=include_bos)))


def peak_place(run: Run, at: NeuronAt, *, pole: str = "", include_bos: bool = False) -> tuple[int, int] | None:
    """Prompt index and position of the neuron's peak over the run: the largest |act|, or with a pole `+` or `-` the
    largest or smallest act. None if no value is included. Ties go to the first prompt.
    """
    best: tuple[float, int, int] | None = None
    for p in over_prompts(run, at, include_bos=include_bos):
        s = p.stats
        value, pos = {"+": (s.max, s.max_pos), "-": (s.min, s.min_pos)}.get(pole, (s.peak_abs, s.peak_pos))
        if value is None or pos is None:
            continue
        size = -value if pole == "-" else value
        if best is None or size > best[0]:
            best = (size, p.prompt_index, pos)
    return None if best is None else best[1:]
