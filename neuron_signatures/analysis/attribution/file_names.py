"""File names of the results of `--mode influence`.

A setting that differs from its default is part of the name of every result that depends on it. So different results
have different names, and a result has the same name however its position or prompt was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.analysis.attribution.candidates import TopFrom
from neuron_signatures.analysis.attribution.influence import ALL, METRICS, OF_LOG_P, SOME_LAYERS, InfluenceSettings
from neuron_signatures.analysis.attribution.metrics import Metric
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation.truth import ValidationConfig
from neuron_signatures.runs.manifest import Dtype
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.results import influence_stem, unfinished_stem, validation_stem

# Defaults, which are not part of a name; the same as those of the flags in poc2_analyze_run.
DEFAULT_IG_STEPS, DEFAULT_IG_MAX_STEPS = 50, 1350
DEFAULT_VALUE_NEURONS = 100
DEFAULT_SAMPLE, DEFAULT_N_RANDOM, DEFAULT_SEED, DEFAULT_MIN_EFFECT = 2000, 1000, 0, 1.0


@dataclass(frozen=True)
class Naming:
    """The settings that names depend on.

    `reference` is the label of the reference; `dtype` is None for the precision of the run's model.
    """

    reference: str
    n_layers: int
    prompt_id: str
    target: Target
    positions: tuple[int, ...]
    settings: InfluenceSettings
    top_from: TopFrom | None
    dtype: Dtype | None

    def influence(self, metric: Metric) -> str:
        """Stem of the files of one ranking."""
        t = self.target
        suffix = _joined(self._parts({metric}))
        return influence_stem(self.prompt_id, metric, t.mode, t.pos, t.token_id, foil_id=t.foil_id, suffix=suffix)

    def validation(self, metrics: Sequence[Metric], config: ValidationConfig) -> str:
        """Stem of the validation of these metrics, which always depends on ablation."""
        t = self.target
        sample = "all" if config.sample is None else config.sample
        sets = [
            f"sample-{sample}" if sample != DEFAULT_SAMPLE and not self.top_from else "",
            "signed" if config.signed else "",
            f"random{config.n_random}" if config.n_random != DEFAULT_N_RANDOM else "",
            f"seed{config.seed}" if config.seed != DEFAULT_SEED else "",
            f"min-effect{config.min_effect:g}" if config.min_effect != DEFAULT_MIN_EFFECT else "",
        ]
        suffix = _joined([*self._parts({*metrics, "ablation"}), *sets])
        return validation_stem(
            self.prompt_id, _names(metrics), t.mode, t.pos, t.token_id, foil_id=t.foil_id, suffix=suffix
        )

    def unfinished(self, metrics: Sequence[Metric]) -> str:
        """Stem of the partial file of a command that ranks by these metrics."""
        t = self.target
        suffix = _joined(self._parts(set(metrics)))
        name = _names(metrics)
        return unfinished_stem(self.prompt_id, name, t.mode, t.pos, t.token_id, foil_id=t.foil_id, suffix=suffix)

    def _parts(self, metrics: set[Metric]) -> list[str]:
        s, at, ablates = self.settings, self.positions, "ablation" in metrics
        if ablates and self.top_from:
            metrics = {*metrics, self.top_from.metric}
        parts = [
            f"ref-{self.reference}",
            "" if self.target.function == "pre_cap_logit" else self.target.function,
            "" if at == (self.target.pos,) else f"ctx{at[0] if len(at) == 1 else ALL}",
        ]
        if "ig" in metrics:
            parts += [
                "by-layer" if s.ig_path == "layer" else "",
                f"steps{s.ig_steps}" if s.ig_steps != DEFAULT_IG_STEPS else "",
                f"max{s.ig_max_steps}" if s.ig_max_steps != DEFAULT_IG_MAX_STEPS else "",
            ]
        if "prob_increase_query" in metrics and s.value_neurons != DEFAULT_VALUE_NEURONS:
            parts.append(f"values{s.value_neurons}")
        if metrics & {*SOME_LAYERS, *OF_LOG_P} and s.layers is not None and len(s.layers) < self.n_layers:
            parts.append("layers" + spans(s.layers, to="-", between="."))
        if ablates and self.top_from:
            parts.append(f"top-{self.top_from.metric}-{self.top_from.k}")
        return [*parts, self.dtype or ""]


def _names(metrics: Sequence[Metric]) -> str:
    return ALL if set(metrics) == set(METRICS) else "-".join(metrics)


def _joined(parts: Sequence[str]) -> str:
    return "_".join(p for p in parts if p)
