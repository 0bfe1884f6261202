"""Peaks over a run's prompts: how strongly each neuron fires at most, and on which tokens.

The peak of a neuron in a prompt is its largest |act| over the counted positions. The run is read once, layer by layer
and prompt by prompt, a few layers at a time, so that memory does not grow with the number of layers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int32, Int64

from neuron_signatures.analysis.peaks.layers import LayerAccumulator
from neuron_signatures.analysis.peaks.stored_layers import LayerForm, LayerResult, StoredLayers
from neuron_signatures.analysis.tokens.codes import int_column, ordered_codes, text_column
from neuron_signatures.analysis.tokens.functional import FunctionalTokens
from neuron_signatures.analysis.tokens.positions import Counted, CountedPrompt, counted_prompts
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.results import NEURONS, ResultsWriter, partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.versions import versions

_EXTREMES: Final = ("max_act", "min_act")
_POSITION: Final = "mode_peak_ctx_idx"
_KINDS: Final = {
    "mode_peak_token_id": "token_id",
    "mode_peak_token": "token",
    _POSITION: "pos",
    **{f"{name}_{kind}": kind for name in _EXTREMES for kind in ("prompt", "pos", "token_id", "token")},
}
_MAX_THREADS = 4  # the memory bandwidth is the limit beyond


@dataclass(frozen=True)
class PeaksConfig:
    """Which tokens are counted. `frac_act_above` is the share of tokens with |act| > `act_threshold`, in real units."""

    functional: FunctionalTokens
    first_pos: int | None = None
    """See `counted_prompts`."""
    include_bos: bool = False
    act_threshold: float = 1.0


@dataclass(frozen=True)
class PeaksResult:
    """`frame` has one row per neuron of the stored layers, ordered by (layer, neuron); columns as in docs/poc2.md."""

    run: dict[str, Any]
    """Its `run_identity`."""
    frame: pd.DataFrame
    config: PeaksConfig
    counted: Counted
    nonfinite: dict[str, int]
    """Number of NaN and infinite values, which are ignored, by prompt id; only for prompts that have any."""


@dataclass(frozen=True)
class _Tokens:
    """The counted tokens as codes that ascend with the token id, so that ties go to the smallest id."""

    ids: Int64[np.ndarray, " code"]
    texts: list[str]
    functional: Bool[np.ndarray, " code"]
    codes: list[Int32[np.ndarray, " _"]]
    """The codes of each prompt's counted positions."""
    prompt: Int32[np.ndarray, " token"]
    pos: Int32[np.ndarray, " token"]
    """Prompt index and position of each counted token of the run, prompt by prompt."""


def analyze_peaks(
    run: Run, config: PeaksConfig, *, writer: ResultsWriter | None = None, progress: ProgressOf = silent
) -> PeaksResult:
    """Peaks of every stored neuron over the prompts of `run`, whose activations are read once.

    NaN and infinite values are ignored; a neuron without any finite value has null cells and ranks last. With a
    `writer`, finished layers are stored, and a stopped command with the same settings goes on with the others. Raises
    `UsageError` if no token is counted, `BadRunError` for a broken file.
    """
    counted = counted_prompts(run, first_pos=config.first_pos, include_bos=config.include_bos)
    tokens = _tokens_of(counted.prompts, config.functional)
    reading = Lock()  # a run may be read by one thread at a time

    def one_layer(layer: int) -> LayerResult:
        stats = _accumulator(tokens, config, run.manifest.d_mlp)
        nonfinite = []
        for p, codes in zip(counted.prompts, tokens.codes, strict=True):
            with reading:
                acts = run.acts(p.prompt, layer=layer)
            nonfinite.append(stats.add(acts[p.start :], start=p.start, codes=codes))
        return LayerResult(stats.finish(), nonfinite)

    settings = _settings(run, config, counted, tokens)
    stored = StoredLayers(None if writer is None else Partial(writer, partial_name(NEURONS), settings))
    stored.resume(run.layers, _form(run, config, tokens))
    todo = [layer for layer in run.layers if layer not in stored.done]
    with progress("layers", len(run.layers)) as bar, stored.save_on_error():
        bar.skip(len(stored.done))
        for layer, result in zip(todo, _in_order(one_layer, todo), strict=True):
            stored.add(layer, result)
            bar.advance(1)
    ids = [p.prompt.probe_id for p in counted.prompts]
    nonfinite = np.sum([stored.done[layer].nonfinite for layer in run.layers], axis=0)
    found = {id_: int(n) for id_, n in zip(ids, nonfinite, strict=True) if n}
    frame = _frame({layer: stored.done[layer].columns for layer in run.layers}, tokens, ids)
    return PeaksResult(run_identity(run), frame, config, counted, found)


def _accumulator(tokens: _Tokens, config: PeaksConfig, n_neurons: int) -> LayerAccumulator:
    return LayerAccumulator(
        len(tokens.codes),
        n_neurons,
        threshold=config.act_threshold,
        functional=tokens.functional,
        largest_pos=int(tokens.pos.max()),
    )


def _form(run: Run, config: PeaksConfig, tokens: _Tokens) -> LayerForm:
    """The form of the columns, from those of one neuron that is always 0."""
    one = _accumulator(tokens, config, 1)
    for codes in tokens.codes:
        one.add(np.zeros((len(codes), 1), np.float32), start=0, codes=codes)
    n_tokens, n_ids = len(tokens.pos), len(tokens.ids)
    limits = {name: n_tokens if name.startswith(_EXTREMES) else n_ids for name in _KINDS if name != _POSITION}
    return LayerForm(one.finish(), limits, run.manifest.d_mlp, len(tokens.codes))


def _settings(run: Run, config: PeaksConfig, counted: Counted, tokens: _Tokens) -> dict[str, Any]:
    """What the columns of a layer depend on."""
    prompts = [(p.prompt.probe_id, p.start, p.prompt.token_ids) for p in counted.prompts]
    of_tokens = [prompts, tokens.functional.tolist()]
    return {
        "run": run_identity(run),
        "tokens": hashlib.sha256(json.dumps(of_tokens).encode()).hexdigest()[:12],
        "act_threshold": config.act_threshold,
        "versions": versions(),
    }


def _tokens_of(prompts: list[CountedPrompt], functional: FunctionalTokens) -> _Tokens:
    text_of: dict[int, str] = {}
    for p in prompts:
        for id_, text in zip(p.prompt.token_ids[p.start :], p.prompt.tokens[p.start :], strict=True):
            text_of.setdefault(id_, text)
    code = ordered_codes(text_of)
    texts = [text_of[i] for i in code]
    return _Tokens(
        ids=np.array(list(code), np.int64),
        texts=texts,
        functional=np.array([functional.is_functional(t) for t in texts]),
        codes=[np.array([code[i] for i in p.prompt.token_ids[p.start :]], np.int32) for p in prompts],
        prompt=np.repeat(np.arange(len(prompts), dtype=np.int32), [p.n_tokens for p in prompts]),
        pos=np.concatenate([np.arange(p.start, p.prompt.seq_len, dtype=np.int32) for p in prompts]),
    )


def _frame(layers: dict[int, dict[str, np.ndarray]], tokens: _Tokens, prompt_ids: list[str]) -> pd.DataFrame:
    """The layers concatenated, with texts and ids instead of codes."""
    first = next(iter(layers.values()))
    n = len(next(iter(first.values())))
    columns = {
        "layer": np.repeat(np.array(list(layers), np.int32), n),
        "neuron": np.tile(np.arange(n, dtype=np.int32), len(layers)),
        **{name: np.concatenate([layer[name] for layer in layers.values()]) for name in first},
    }
    return pd.DataFrame({name: _finished(name, values, tokens, prompt_ids) for name, values in columns.items()})


def _finished(name: str, values: np.ndarray, tokens: _Tokens, prompt_ids: list[str]) -> object:
    kind, missing = _KINDS.get(name), values < 0
    if kind and name.startswith(_EXTREMES):
        of_token = {"prompt": tokens.prompt, "pos": tokens.pos}.get(kind, np.concatenate(tokens.codes))
        values = np.where(missing, -1, of_token[values])
    match kind:
        case "token_id":  # a missing value (-1) indexes the last id, which the mask hides
            return int_column(tokens.ids[values], missing=missing)
        case "pos":
            return int_column(values, missing=missing)
        case "token":
            return text_column(values, tokens.texts)
        case "prompt":
            return text_column(values, prompt_ids)
        case _:
            return values


def _in_order(work: Callable[[int], LayerResult], layers: Sequence[int]) -> Iterator[LayerResult]:
    """Yield `work(layer)` for each layer, in order, computing several at a time (numpy releases the GIL).

    Layers that have not started are cancelled if one fails, or if the caller stops or is interrupted.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # a batch system may limit the cores
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    pool = ThreadPoolExecutor(max(1, min(cores, len(layers), _MAX_THREADS)))
    try:
        yield from pool.map(work, layers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
