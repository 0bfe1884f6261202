"""Forward passes over windows of the recorded corpus: the activations of all units of the chosen layers.

    windows = choose_windows(records.corpus, ("explain",), n_windows=500, seed=0)
    with open_pass(run, records, overrides, layers=[0, 1]) as corpus_pass:
        for batch in corpus_pass.batches(windows, bar):
            acts = batch.counted(0)   # layer 0: [token neuron], float32, the positions that count

The windows and their positions are those of the records, so sums over all windows of a part give the recorded moments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import Capture, pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.records.corpus.blocks import in_batches, longest_window, model_inputs
from neuron_signatures.records.pass1.plan import default_batch_size
from neuron_signatures.records.target_run import ModelPlan, load_planned, plan_for_run
from neuron_signatures.records.units import open_units
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import EARLIER_BACKEND
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.stats.hashes import mixed

ANALYSED: Final[tuple[Part, ...]] = ("explain", "select")
"""The parts that analyses read: to describe and to test. The part `report` is for scores of explanations."""
_SALT: Final = 11
_BATCH_BYTES: Final = {"cpu": 1 << 28, "mps": 1 << 28, "cuda": 1 << 32}
"""Of the activations of a batch, which are in memory together."""


def choose_windows(
    corpus: Corpus, parts: Sequence[Part], *, n_windows: int | None = None, n_tokens: int | None = None, seed: int = 0
) -> Int64[np.ndarray, " window"]:
    """Windows of these parts, ascending: all, or a uniform sample without replacement.

    The sample has `n_windows` windows, or as many as are needed for `n_tokens` positions that count. It is chosen by a
    hash of seed and number: a smaller one is contained in a larger one. Raises `UsageError` if the parts have no
    windows.
    """
    assert set(parts) <= set(ANALYSED)
    part = corpus.document_part[corpus.window_document]
    found = np.flatnonzero(np.isin(part, [PARTS.index(p) for p in parts]))
    if not len(found):
        what = f"the corpus has no windows in {' and '.join(parts)}"
        raise UsageError(what, next_step="Make the records again with a larger corpus or other --parts")
    order = found[np.argsort(mixed(found, seed, _SALT), kind="stable")]
    if n_tokens is not None:
        counted = np.cumsum(corpus.window_length[order] - corpus.window_counted_from[order], dtype=np.int64)
        enough = int(np.searchsorted(counted, n_tokens)) + 1
        n_windows = enough if n_windows is None else min(n_windows, enough)
    return np.sort(order[:n_windows])


@dataclass(frozen=True, eq=False)
class PassBatch:
    """Some windows and what the units do in them. Rows of `acts` and `counted` are the places in `layers`."""

    windows: Int64[np.ndarray, " window"]
    """Numbers in the corpus."""
    token_ids: Int64[np.ndarray, "window pos"]
    """Text tokens, without a BOS; -1 after the end of a window."""
    counts: Bool[np.ndarray, "window pos"]
    """The positions that count in the records. None of a window in which an activation is not finite."""
    layers: tuple[int, ...]
    _acts: list[Tensor]

    def acts(self, row: int) -> Float[Tensor, "window pos neuron"]:
        """Activations of a layer, float32, on the layer's device; meaningless after the end of a window."""
        return self._acts[row].float()

    def counted(self, row: int) -> Float[Tensor, "token neuron"]:
        """Activations of a layer at the positions that count, window by window, float32."""
        found = self._acts[row]
        return found[torch.from_numpy(self.counts).to(found.device)].float()

    @property
    def counted_ids(self) -> Int64[np.ndarray, " token"]:
        """The tokens at the positions of `counted`."""
        return np.asarray(self.token_ids[self.counts])

    @property
    def counted_windows(self) -> Int64[np.ndarray, " token"]:
        """The windows of the positions of `counted`."""
        return np.repeat(self.windows, self.counts.sum(axis=1))


class CorpusPass:
    """An open pass; `open_pass` is the way to get one."""

    def __init__(self, model: LoadedModel, corpus: Corpus, capture: Capture, batch_size: int) -> None:
        self.model, self.corpus, self.batch_size = model, corpus, batch_size
        self.layers, self.n_units = capture.layers, capture.shape.d_mlp
        self.n_left_out = 0
        """Windows so far that do not count because an activation is not finite."""
        self._capture = capture

    def batches(self, windows: Int64[np.ndarray, " window"], bar: Bar | None = None) -> Iterator[PassBatch]:
        """Run the windows, the longest first. Advances `bar` by the tokens of each batch."""
        lengths = self.corpus.window_length[windows].astype(np.int64)
        ordered = windows[np.lexsort((windows, -lengths))]
        for members in in_batches(self.corpus, ordered, self.batch_size):
            yield self._run(members)
            if bar is not None:
                bar.advance(int(self.corpus.window_length[members].sum()))

    def _run(self, members: Int64[np.ndarray, " window"]) -> PassBatch:
        corpus, front = self.corpus, int(self.corpus.meta.prepend_bos)
        inputs = model_inputs(corpus, members)
        padded = pad_batch(inputs, device=self.model.device)
        what = f"a batch of {len(inputs)} windows (--batch_size)"
        with memory_faults(work_on(self.model.hf, what, inputs[0])):
            acts = [a[:, front:] for a in self._capture.run(padded.input_ids, padded.attention_mask)]
        length = corpus.window_length[members].astype(np.int64)
        pos = np.arange(acts[0].shape[1])
        ids = np.full((len(members), len(pos)), -1, np.int64)
        for row, one in enumerate(inputs):
            ids[row, : len(one) - front] = one[front:]
        inside = pos < length[:, None]
        finite = np.all([_finite(a) | ~inside for a in acts], axis=(0, 2))
        self.n_left_out += int((~finite).sum())
        counts = inside & (pos >= corpus.window_counted_from[members][:, None]) & finite[:, None]
        return PassBatch(members, ids, counts, self.layers, acts)


@contextlib.contextmanager
def open_pass(
    run: Run, records: Records, overrides: ModelOverrides, *, layers: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Iterator[CorpusPass]:  # fmt: skip
    """Load the model of the records, check it, and hook the chosen recorded layers (None: all of them).

    Without a dtype in `overrides` the model runs in that of the records; it can be used for other forward passes too.
    `batch_size` is in windows of full length. Raises `UsageError` for a layer that is not recorded, `BadRunError` if
    the model is not that of the records.
    """
    chosen = records.layers if layers is None else tuple(layers)
    refuse_other_layers(records, chosen)
    plan = plan_of_records(run, records, overrides)
    model = load_planned(run, plan)
    corpus, backend = records.corpus, run.manifest.backend or EARLIER_BACKEND
    with open_units(model, chosen, backend, plan.units, token_ids=longest_window(corpus)) as capture:
        device, length = model.device.type, corpus.meta.sequence_length
        most = _BATCH_BYTES[device] // (4 * len(chosen) * capture.shape.d_mlp * length)
        size = batch_size or max(1, min(default_batch_size(device, length), most))
        yield CorpusPass(model, corpus, capture, size)


def plan_of_records(run: Run, records: Records, overrides: ModelOverrides) -> ModelPlan:
    """The model of the records, before its weights are loaded. Raises `BadRunError` if it is another one."""
    meta = records.meta
    if overrides.dtype is None:
        overrides = replace(overrides, dtype=meta.model_dtype)
    plan = plan_for_run(run, overrides, None)
    for name in ("weights_fingerprint", "model_revision"):
        then, now = getattr(meta, name), getattr(plan.identity, "revision" if name == "model_revision" else name)
        if then is not None and now is not None and then != now:
            what = f"the model is not that of the records: {name} is {now}, the records say {then}"
            raise BadRunError(what, where=str(run.path), next_step="Load the model of the records (--model_name)")
    return plan


def refuse_other_layers(records: Records, layers: Sequence[int]) -> None:
    """Raise `UsageError` for a layer that is not recorded."""
    for layer in layers:
        if layer not in records.layers:
            held = spans(records.layers, between=",")
            raise UsageError(f"layer {layer} is not recorded (layers {held} are)", where=str(records.path))


def _finite(acts: Tensor) -> Bool[np.ndarray, "window pos"]:
    return np.asarray(torch.isfinite(acts).all(dim=-1).cpu().numpy())
