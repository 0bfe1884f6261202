"""Peaks over a run's prompts: how strongly each neuron fires at most, and on which tokens.

The peak of a neuron in a prompt is its largest |act| over the counted positions. The run is read once, layer by layer
and prompt by prompt, a few layers at a time, so that memory does not grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int32, Int64

from neuron_signatures.analysis.peaks.layers import Extreme, LayerAccumulator, LayerPeaks
from neuron_signatures.analysis.threads import in_order
from neuron_signatures.analysis.tokens.codes import int_column, ordered_codes, text_column
from neuron_signatures.analysis.tokens.functional import FunctionalTokens
from neuron_signatures.analysis.tokens.positions import Counted, CountedPrompt, counted_prompts
from neuron_signatures.runs.run import Run

_EXTREMES: Final = ("max_act", "min_act")
_KINDS: Final = {
    "mode_peak_token_id": "id",
    "mode_peak_token": "token",
    "mode_peak_ctx_idx": "pos",
    **{f"{name}_{kind}": kind for name in _EXTREMES for kind in ("prompt", "pos", "token")},
    **{f"{name}_token_id": "id" for name in _EXTREMES},
}


@dataclass(frozen=True)
class PeaksConfig:
    """Which tokens are counted. `frac_act_above` is the share of tokens with |act| > `act_threshold`, in real units."""

    functional: FunctionalTokens
    first_pos: int = 0
    include_bos: bool = False
    act_threshold: float = 1.0


@dataclass(frozen=True)
class PeaksResult:
    """`frame` has one row per neuron of the stored layers, ordered by (layer, neuron); columns as in docs/poc2.md."""

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


class _Layer(NamedTuple):
    """One layer's columns, and the number of non-finite values of each prompt."""

    columns: dict[str, np.ndarray]
    nonfinite: list[int]


def analyze_peaks(
    run: Run, config: PeaksConfig, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> PeaksResult:
    """Peaks of every stored neuron over the prompts of `run`, whose activations are read once.

    `progress` is called with the number of layers done and the number of all layers. NaN and infinite values are
    ignored; a neuron without any finite value has null cells and ranks last. Raises `UsageError` if no token is
    counted, `BadRunError` for a broken file.
    """
    counted = counted_prompts(run, first_pos=config.first_pos, include_bos=config.include_bos)
    tokens = _tokens_of(counted.prompts, config.functional)
    reading = Lock()  # a run may be read by one thread at a time

    def one_layer(layer: int) -> _Layer:
        stats = LayerAccumulator(
            len(counted.prompts),
            run.manifest.d_mlp,
            threshold=config.act_threshold,
            functional=tokens.functional,
            largest_pos=int(tokens.pos.max()),
        )
        nonfinite = []
        for p, codes in zip(counted.prompts, tokens.codes, strict=True):
            with reading:
                acts = run.acts(p.prompt, layer=layer)
            nonfinite.append(stats.add(acts[p.start :], start=p.start, codes=codes))
        return _Layer(_columns(layer, stats.finish(), tokens), nonfinite)

    layers = []
    for layer in in_order(one_layer, run.layers):
        layers.append(layer)
        progress(len(layers), len(run.layers))
    ids = [p.prompt.probe_id for p in counted.prompts]
    nonfinite = np.sum([layer.nonfinite for layer in layers], axis=0)
    found = {id_: int(n) for id_, n in zip(ids, nonfinite, strict=True) if n}
    return PeaksResult(_frame([layer.columns for layer in layers], tokens, ids), config, counted, found)


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


def _columns(layer: int, s: LayerPeaks, tokens: _Tokens) -> dict[str, np.ndarray]:
    """One layer's columns in order. Text and nullable integers are still codes, with -1 for missing values."""
    n = len(s.mean)
    return {
        "layer": np.full(n, layer, np.int32),
        "neuron": np.arange(n, dtype=np.int32),
        "mean_peak_abs": s.mean,
        "std_peak_abs": s.std,
        "max_peak_abs": s.max,
        "min_peak_abs": s.min,
        "frac_peak_functional": s.frac_functional,
        "mode_peak_token_id": s.code.value,
        "mode_peak_token": s.code.value,
        "mode_peak_token_count": s.code.times,
        "n_unique_peak_token_id": s.code.n_distinct,
        "mode_peak_ctx_idx": s.pos.value,
        "mode_peak_ctx_count": s.pos.times,
        "n_unique_peak_ctx_idx": s.pos.n_distinct,
        **_extreme("max_act", s.act_max, tokens),
        **_extreme("min_act", s.act_min, tokens),
        "mean_act": s.act_mean,
        "std_act": s.act_std,
        "frac_act_above": s.frac_above,
        "mean_peak_abs_over_layer_median": s.norm,
        "n_peaks": s.n_peaks,
        "n_nonfinite": s.n_nonfinite,
    }


def _extreme(name: str, e: Extreme, tokens: _Tokens) -> dict[str, np.ndarray]:
    none = e.token < 0
    code = np.concatenate(tokens.codes)[e.token]
    columns = {
        f"{name}_prompt": tokens.prompt[e.token],
        f"{name}_pos": tokens.pos[e.token],
        f"{name}_token_id": code,
        f"{name}_token": code,
    }
    return {
        name: np.where(none, np.nan, e.value.astype(np.float64)),
        **{k: np.where(none, -1, v) for k, v in columns.items()},
    }


def _frame(layers: list[dict[str, np.ndarray]], tokens: _Tokens, prompt_ids: list[str]) -> pd.DataFrame:
    """The layers concatenated, with texts and ids instead of codes."""
    columns = {name: np.concatenate([layer[name] for layer in layers]) for name in layers[0]}
    return pd.DataFrame({name: _finished(name, values, tokens, prompt_ids) for name, values in columns.items()})


def _finished(name: str, values: np.ndarray, tokens: _Tokens, prompt_ids: list[str]) -> object:
    match _KINDS.get(name):
        case "id":  # a missing value (-1) indexes the last id, which the mask hides
            return int_column(tokens.ids[values], missing=values < 0)
        case "pos":
            return int_column(values, missing=values < 0)
        case "token":
            return text_column(values, tokens.texts)
        case "prompt":
            return text_column(values, prompt_ids)
        case _:
            return values
