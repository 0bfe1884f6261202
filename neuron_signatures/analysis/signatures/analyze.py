"""Signatures: what each neuron's peaks have in common across a run's prompts, for both signs of its activation.

One row per neuron and pole; v = s * act with s = 1 for pole `+` and -1 for pole `-`. Two nulls, many draws each, repeat
the measurement with other labels (see `nulls`); they show how many classifications arise by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Integer

from neuron_signatures.analysis.signatures.classes import (
    CLASSES,
    REASONS,
    ClassRules,
    Drawn,
    Names,
    class_counts,
    classify,
    drawn_counts,
    make_groups,
    make_names,
    settle,
    weak_poles,
)
from neuron_signatures.analysis.signatures.labels import Labels, aligned_positions, choose_concepts, make_labels
from neuron_signatures.analysis.signatures.metrics import (
    Activity,
    activity,
    counted_peaks,
    flat_labels,
    token_metrics,
)
from neuron_signatures.analysis.signatures.nulls import choose_donors, of_other_prompts, shuffled
from neuron_signatures.analysis.signatures.pole_stats import PolePeaks, pole_peaks, quartiles, seed_cosine
from neuron_signatures.analysis.signatures.rates import PositionRates, TargetRates
from neuron_signatures.analysis.signatures.table import MeanCosine, PoleResult, layer_frame
from neuron_signatures.analysis.signatures.texts import first_of_text, text_codes
from neuron_signatures.analysis.tokens.functional import WINDOW, FunctionalTokens
from neuron_signatures.analysis.tokens.positions import Counted, CountedPrompt, counted_prompts
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity

SIGNS = (1, -1)
_BLOCK_BYTES = 64 << 20  # of activations in memory at once; a larger layer is read in several blocks of neurons


@dataclass(frozen=True)
class SignatureConfig:
    """Which tokens are counted, when a pole is active, and the rules of the classes."""

    functional: FunctionalTokens
    seed_prompt: str | int = 0
    """Id or index in the run. Its semantic tokens are the default concepts, and cosines compare with it."""
    concepts: tuple[str, ...] | None = None
    """None: the `concepts` of the prompts' metadata, or else the seed prompt's semantic tokens."""
    first_pos: int | None = None
    """See `counted_prompts`."""
    include_bos: bool = False
    active_above: float = 0.0
    """In real units. A pole is active in a prompt if its peak there is above this ..."""
    active_share: float = 0.5
    """... and at least this share of its largest peak in the run: most neurons are never exactly 0."""
    min_concept_prompts: int = 2
    """Concepts contained in fewer prompts are ignored."""
    min_shared_tokens: int = 2
    """Prompts that share fewer tokens with the seed prompt have no cosine."""
    target_window: int = WINDOW
    wilson_z: float = 1.96
    n_null: int = 20
    """Draws of each null."""
    null_seed: int = 0
    rules: ClassRules = field(default_factory=ClassRules)


@dataclass(frozen=True)
class SignatureResult:
    """`frame` is ordered by (layer, neuron, pole `+` first); floats are float32. Counts are per class."""

    run: dict[str, Any]
    """Its `run_identity`."""
    frame: pd.DataFrame
    groups: list[dict[str, Any]]
    class_counts: dict[str, int]
    shuffled_counts: list[dict[str, int]]
    """Class counts with each prompt's tokens shuffled, one entry per draw ..."""
    other_prompt_counts: list[dict[str, int]]
    """... and with the tokens of other prompts at the same positions. Empty for a run of one prompt."""
    reasons: dict[str, int]
    """Number of unclassified poles by `REASONS`."""
    config: SignatureConfig
    counted: Counted
    seed_prompt: str
    concepts: list[str]
    concepts_source: str
    n_containing: list[int]
    """Number of prompts that contain each concept."""


def analyze_signatures(run: Run, config: SignatureConfig) -> SignatureResult:
    """Signatures of every stored neuron and pole over the prompts of `run`, a block of neurons at a time.

    Raises `UsageError` if no token is counted, if the seed prompt does not exist, or if the concepts of the metadata
    are not a list of texts; `BadRunError` for a broken file.
    """
    counted = counted_prompts(run, first_pos=config.first_pos, include_bos=config.include_bos)
    seed = run.prompt(config.seed_prompt)
    concepts, source = choose_concepts(counted.prompts, seed, config.functional, config.concepts)
    labels = make_labels(counted.prompts, config.functional, concepts, window=config.target_window)
    measure = _Measure(config, counted.prompts, seed, labels, run.manifest.n_layers)
    frames, drawn = [], []
    for layer in run.layers:
        for block in _neuron_blocks(run.manifest.d_mlp, counted.n_tokens):
            acts = _read(run, counted.prompts, layer, block)
            poles, draws = measure.poles(acts, layer)
            frames.append(layer_frame(layer, block.start, poles, labels, measure.names, config.wilson_z))
            drawn += draws
    frame = pd.concat(frames, ignore_index=True)
    largest_p = settle(frame, config.rules)
    null = [drawn_counts(parts, len(frame), largest_p) for parts in zip(*drawn, strict=True)]
    return SignatureResult(
        run=run_identity(run),
        frame=frame,
        groups=make_groups(frame),
        class_counts=class_counts(pd.Categorical(frame["class"], CLASSES).codes),
        shuffled_counts=null[: config.n_null],
        other_prompt_counts=null[config.n_null :],
        reasons={reason: int((frame["reason"] == reason).sum()) for reason in REASONS},
        config=config,
        counted=counted,
        seed_prompt=seed.probe_id,
        concepts=concepts,
        concepts_source=source,
        n_containing=labels.n_containing.tolist(),
    )


class _Measure:
    """Measures a block of neurons; holds what is the same for all blocks."""

    def __init__(
        self, config: SignatureConfig, prompts: list[CountedPrompt], seed: PromptRecord, labels: Labels, n_layers: int
    ) -> None:
        self.config, self.labels = config, flat_labels(labels)
        self.lengths = [p.n_tokens for p in prompts]
        self.texts = text_codes(prompts)
        rng = [np.random.default_rng([config.null_seed, i]) for i in range(2)]
        donors = choose_donors(self.lengths)
        null = [shuffled(labels, rng[0]) for _ in range(config.n_null)]
        if len(prompts) > 1:
            null += [of_other_prompts(labels, donors, rng[1]) for _ in range(config.n_null)]
        self.null_labels = [flat_labels(x) for x in null]
        self.rates, self.target_rates = PositionRates(labels, donors), TargetRates(labels, self.texts)
        self.n_layers = n_layers
        self.names: Names = make_names(labels.concepts, labels.names)
        self._shared = list(_shared_with_seed(prompts, seed, config.min_shared_tokens))

    def poles(
        self, acts: Float32[np.ndarray, "token neuron"], layer: int
    ) -> tuple[list[PoleResult], list[list[Drawn]]]:
        """Both poles of one block of neurons, and for each pole its null draws."""
        c, scale, cosine = self.config, quartiles(acts), self._cosine(acts)
        depth = layer / (self.n_layers - 1) if self.n_layers > 1 else 0.0
        peaks = [pole_peaks(acts, self.lengths, scale, sign=sign) for sign in SIGNS]
        active = [
            activity(p, scale, sign=sign, above=c.active_above, share=c.active_share)
            for p, sign in zip(peaks, SIGNS, strict=True)
        ]
        weak = weak_poles([a.max_peak for a in active], c.rules.weak_pole)
        found = [self._pole(*pole, depth, cosine) for pole in zip(peaks, active, weak, strict=True)]
        return [pole for pole, _ in found], [draws for _, draws in found]

    def _pole(
        self, peaks: PolePeaks, active: Activity, weak: Bool[np.ndarray, " neuron"], depth: float, cosine: MeanCosine
    ) -> tuple[PoleResult, list[Drawn]]:
        least, rules = self.config.min_concept_prompts, self.config.rules
        counted = first_of_text(self.texts, peaks.pos, active.active)
        at = counted_peaks(peaks.pos, active.active, counted, self.lengths)
        found = token_metrics(at, self.labels, min_concept_prompts=least)
        classified = classify(active.median_sparsity, found, weak=weak, depth=depth, rules=rules)
        # the others are unclassified with any labels
        test = np.flatnonzero(~weak & (found.n >= max(rules.min_active, 1)))
        at = at.of(test)
        null = [
            token_metrics(at, x, min_concept_prompts=least, class_only=rules.semantic_max_distinct)
            for x in self.null_labels
        ]
        sparsity, none_weak = active.median_sparsity[test], np.zeros(len(test), bool)
        kinds = [classify(sparsity, t, weak=none_weak, depth=depth, rules=rules).kind for t in null]
        tested = np.stack([np.ones(len(test), bool), *(k > 0 for k in kinds)])
        times = np.stack([found.token.times[test], *(t.token.times for t in null)])
        tails = self.rates.mode_p(at.pos, at.counted, times, tested)
        p = np.full(len(weak), np.nan)
        p[test] = tails[0]
        target_p = self.target_rates.target_p(found, classified.kind == CLASSES.index("say_x"))
        draws = [Drawn(k[hit], tail[hit]) for k, tail, hit in zip(kinds, tails[1:], tested[1:], strict=True)]
        return PoleResult(depth, active, found, classified, p, target_p, cosine), draws

    def _cosine(self, acts: Float32[np.ndarray, "token neuron"]) -> MeanCosine:
        total, n = np.zeros(acts.shape[1], np.float32), np.zeros(acts.shape[1], np.int32)
        for seed_tokens, tokens in self._shared:
            cosine = seed_cosine(acts, seed_tokens, tokens)
            total += np.nan_to_num(cosine)
            n += ~np.isnan(cosine)
        return MeanCosine((total / np.where(n > 0, n, np.nan)).astype(np.float32), n)


def _shared_with_seed(
    prompts: list[CountedPrompt], seed: PromptRecord, least: int
) -> Iterator[tuple[Integer[np.ndarray, " shared"], Integer[np.ndarray, " shared"]]]:
    """For each other prompt with enough shared tokens: their rows among all counted tokens, in seed and prompt."""
    first_row = dict(
        zip((p.prompt.probe_id for p in prompts), np.cumsum([0, *(p.n_tokens for p in prompts)]), strict=False)
    )
    counted_seed = next((p for p in prompts if p.prompt is seed), None)
    for p in prompts:
        if counted_seed is None or p is counted_seed:
            continue
        a, b = aligned_positions(seed.tokens[counted_seed.start :], p.prompt.tokens[p.start :])
        if len(a) >= least:
            yield first_row[seed.probe_id] + a, first_row[p.prompt.probe_id] + b


def _neuron_blocks(d_mlp: int, n_tokens: int) -> Iterator[slice]:
    width = max(1, min(d_mlp, _BLOCK_BYTES // (4 * n_tokens)))
    for start in range(0, d_mlp, width):
        yield slice(start, min(start + width, d_mlp))


def _read(run: Run, prompts: list[CountedPrompt], layer: int, neurons: slice) -> Float32[np.ndarray, "token neuron"]:
    """The activations of all counted tokens, prompt by prompt."""
    out = np.empty((sum(p.n_tokens for p in prompts), neurons.stop - neurons.start), np.float32)
    row = 0
    for p in prompts:
        out[row : row + p.n_tokens] = run.acts(p.prompt, layer=layer)[p.start :, neurons]
        row += p.n_tokens
    return out
