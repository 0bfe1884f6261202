"""What `--mode influence` is asked to compute, and the settings that its files depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.analysis.attribution.influence import ALL, METRICS, InfluenceSettings, not_comparable
from neuron_signatures.analysis.attribution.metrics import Metric
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.targets import TargetRequest
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.validation.truth import ValidationConfig
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt, ModelOverrides
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.versions import versions


@dataclass(frozen=True)
class InfluenceRequest:
    """The flags of `--mode influence`. `reference` None is the default of `choose_reference`;
    `top_from` is `METRIC:K`: ablate only the first K neurons of that metric."""

    prompt: str | int
    target: TargetRequest
    metrics: tuple[Metric, ...]
    settings: InfluenceSettings
    reference: str | None
    min_mean_tokens: int
    selection: SelectionConfig
    overrides: ModelOverrides
    top_from: str | None
    write_scores: int
    explicit: str | None
    validation: ValidationConfig | None
    merge: bool = False
    """Take the ablations of single neurons from the shards that the run holds."""

    def __post_init__(self) -> None:
        if self.merge:
            self.refuse_without_ablations()

    def refuse_without_ablations(self) -> None:
        """Raise `UsageError` if nothing of the request is done in shards."""
        if "ablation" not in self.computed:
            what = "only ablations of single neurons are done in shards"
            next_step = "Add --validate, or ablation to --influence_metric"
            raise UsageError(what, where="--merge" if self.merge else "--shard", next_step=next_step)

    @property
    def computed(self) -> tuple[Metric, ...]:
        """The requested metrics, and ablation if they are validated."""
        return self.metrics if self.validation is None else tuple(dict.fromkeys((*self.metrics, "ablation")))


def parse_metrics(text: str) -> tuple[Metric, ...]:
    """`dla,act_grad` or `all`, in the order of `METRICS`. Raises `UsageError`."""
    chosen = [part.strip() for part in text.split(",")]
    unknown = [m for m in chosen if m not in (*METRICS, ALL)]
    if unknown:
        what = f"{unknown[0]!r} is none of {', '.join(METRICS)}, all"
        raise UsageError(what, where="--influence_metric")
    return tuple(m for m in METRICS if m in chosen or ALL in chosen)


def no_ranking() -> UsageError:
    """The error for a validation without any ranking."""
    what = "a sample of ablations is no ranking, and no other metric is chosen"
    return UsageError(what, where="--validate", next_step="Add a metric to --influence_metric, or --sample all")


def nothing_compared(metrics: Sequence[Metric], target: Target) -> UsageError:
    """The error for a validation whose only rankings are not comparable with ablations."""
    why = "; ".join(f"{m}: {why}" for m in metrics if (why := not_comparable(m, target)))
    return UsageError(f"nothing to compare: {why}", where="--validate")


def command_settings(
    request: InfluenceRequest, checked: CheckedPrompt, problem: Problem, reference: Reference
) -> dict[str, Any]:
    """What the files of every metric depend on, for a command that resumes."""
    return {
        "run": checked.run,
        "prompt_id": checked.prompt.probe_id,
        "target": asdict(problem.target),
        "positions": problem.positions,
        "reference": reference.identity(),
        "min_mean_tokens": request.min_mean_tokens,
        "dtype": checked.model.spec.dtype,
        "settings": asdict(request.settings),
        "top_from": request.top_from,
        "selection": asdict(request.selection),
        "write_scores": request.write_scores,
        "explicit_tokens": request.explicit,
        "versions": versions(),
    }
