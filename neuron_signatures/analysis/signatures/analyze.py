"""Signatures: what each neuron's peaks have in common across a run's prompts, for both signs of its activation.

One row per neuron and pole; v = s * act with s = 1 for pole `+` and -1 for pole `-`. The null is the same measurement
with the tokens of each prompt shuffled; it shows how many classifications arise by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Integer

from neuron_signatures.analysis.signatures.classes import (
    ClassRules,
    Names,
    class_counts,
    classify,
    make_groups,
    make_names,
)
from neuron_signatures.analysis.signatures.labels import (
    Labels,
    aligned_positions,
    choose_concepts,
    make_labels,
    shuffled,
)
from neuron_signatures.analysis.signatures.metrics import activity, token_metrics
from neuron_signatures.analysis.signatures.pole_stats import Scale, pole_peaks, quartiles, seed_cosine
from neuron_signatures.analysis.signatures.table import MeanCosine, PoleResult, layer_frame
from neuron_signatures.analysis.stage_record import run_identity
from neuron_signatures.analysis.tokens.functional import WINDOW, FunctionalTokens
from neuron_signatures.analysis.tokens.positions import Counted, CountedPrompt, counted_prompts
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run

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
    first_pos: int = 0
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
    null_seed: int = 0
    rules: ClassRules = field(default_factory=ClassRules)


@dataclass(frozen=True)
class SignatureResult:
    """`frame` is ordered by (layer, neuron, pole `+` first); floats are float32. Counts are per class."""

    run: dict[str, Any]
    """Its `run_identity`."""
    frame: pd.DataFrame
    groups: list[dict[str, object]]
    class_counts: dict[str, int]
    null_class_counts: dict[str, int]
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
    frames, null_kinds, real_kinds = [], [], []
    for layer in run.layers:
        for block in _neuron_blocks(run.manifest.d_mlp, counted.n_tokens):
            acts = _read(run, counted.prompts, layer, block)
            poles = measure.poles(acts, layer)
            frames.append(layer_frame(layer, block.start, poles, labels, measure.names, config.wilson_z))
            real_kinds += [p.classified.kind for p in poles]
            null_kinds += [p.null.kind for p in poles]
    frame = pd.concat(frames, ignore_index=True)
    return SignatureResult(
        run=run_identity(run),
        frame=frame,
        groups=make_groups(frame),
        class_counts=class_counts(np.concatenate(real_kinds)),
        null_class_counts=class_counts(np.concatenate(null_kinds)),
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
        self.config, self.labels = config, labels
        self.null_labels = shuffled(labels, np.random.default_rng(config.null_seed))
        self.lengths = [p.n_tokens for p in prompts]
        self.n_layers = n_layers
        self.names: Names = make_names(labels.concepts, labels.names)
        self._shared = list(_shared_with_seed(prompts, seed, config.min_shared_tokens))

    def poles(self, acts: Float32[np.ndarray, "token neuron"], layer: int) -> list[PoleResult]:
        """Both poles of one block of neurons, each with its null."""
        scale, cosine = quartiles(acts), self._cosine(acts)
        depth = layer / (self.n_layers - 1) if self.n_layers > 1 else 0.0
        return [self._pole(acts, sign, depth, scale, cosine) for sign in SIGNS]

    def _pole(
        self, acts: Float32[np.ndarray, "token neuron"], sign: int, depth: float, scale: Scale, cosine: MeanCosine
    ) -> PoleResult:
        c = self.config
        peaks = pole_peaks(acts, self.lengths, scale, sign=sign)
        active = activity(peaks, scale, sign=sign, above=c.active_above, share=c.active_share)
        found, null = (
            token_metrics(peaks.pos, active.active, labels, min_concept_prompts=c.min_concept_prompts)
            for labels in (self.labels, self.null_labels)
        )
        return PoleResult(
            depth=depth,
            activity=active,
            tokens=found,
            classified=classify(active, found, depth=depth, rules=c.rules),
            null=classify(active, null, depth=depth, rules=c.rules),
            cosine=cosine,
        )

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
