"""`--mode influence` and `--validate`: one prompt, one target, the chosen metrics, their files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.analysis.attribution import Attribution, Metric
from neuron_signatures.analysis.baselines import baseline_values, check_baseline_name
from neuron_signatures.analysis.context import AnalysisContext, ModelOverrides, open_context
from neuron_signatures.analysis.influence import (
    ALL,
    METRICS,
    NEED_FLOAT32,
    InfluenceSettings,
    baseline_label,
    influence,
)
from neuron_signatures.analysis.partial import Partial
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.targets import ResolvedTarget, TargetRequest, resolve_pos, resolve_target
from neuron_signatures.analysis.validation import Validation, ValidationConfig, validate
from neuron_signatures.analysis.vocab import explicit_tokens
from neuron_signatures.analysis.write_influence import (
    influence_frame,
    select_influence,
    write_influence,
    write_write_scores,
)
from neuron_signatures.analysis.write_validation import write_validation
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import (
    TOP_STEM,
    ResultsWriter,
    influence_stem,
    open_results,
    partial_name,
    validation_stem,
)
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InfluenceRequest:
    """What is asked for, as the flags say it. `top_from` is `METRIC:K`: ablate only that metric's first K neurons."""

    prompt: str | int
    target: TargetRequest
    metrics: tuple[Metric, ...]
    settings: InfluenceSettings
    selection: SelectionConfig
    overrides: ModelOverrides
    top_from: str | None
    write_scores: int
    explicit: str | None
    validation: ValidationConfig | None


@dataclass(frozen=True)
class MetricSummary:
    """What one ranking came to: the stem of its files, its first neuron, how many were selected."""

    metric: str
    stem: str
    n_selected: int
    selected_share: float
    top: dict[str, Any] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class InfluenceOutcome:
    resolved: ResolvedTarget
    prompt_id: str
    metrics: tuple[MetricSummary, ...]
    validation: Validation | None
    validation_stem: str | None


ProgressOf = Callable[[str, int], Any]


def run_influence(run: Run, request: InfluenceRequest, *, progress: ProgressOf) -> InfluenceOutcome:
    """Compute the chosen metrics, write their files, and validate them if asked. Raises the project's errors.

    `progress(name, n)` gives a context manager whose value has `advance(n)`.
    """
    for name in (request.settings.ig_baseline, request.settings.ablate_with, request.settings.act_grad_source):
        if name is not None:
            check_baseline_name(name)
    context = open_context(run, request.prompt, _in_float32(run, request))
    resolved = resolve_target(context.model, context.token_ids, request.target)
    explicit_ids = explicit_tokens(context.model.tokenizer, request.explicit) if request.explicit else []
    work = _Work(context, resolved, request, progress)
    with open_results(run) as writer:
        found: dict[Metric, Attribution] = {}
        summaries = []
        for metric in request.metrics:
            found[metric], summary = work.compute(writer, metric, found)
            summaries.append(summary)
            if request.write_scores:
                work.scores(writer, summary.stem, found[metric], explicit_ids)
        validation, stem = work.validate(writer, found) if request.validation else (None, None)
    return InfluenceOutcome(resolved, context.prompt.probe_id, tuple(summaries), validation, stem)


def write_peak_scores(run: Run, record_rows: Sequence[tuple[int, int]], request: InfluenceRequest) -> None:
    """What the neurons that peaks selected promote and suppress at the target position of the chosen prompt."""
    context = open_context(run, request.prompt, request.overrides)
    pos = resolve_pos(request.target.pos, context.prompt.seq_len, where="--target_pos")
    explicit_ids = explicit_tokens(context.model.tokenizer, request.explicit) if request.explicit else []
    with open_results(run) as writer:
        write_write_scores(
            writer, TOP_STEM, context, pos, list(record_rows), top=request.write_scores, explicit_ids=explicit_ids
        )


def parse_metrics(text: str) -> tuple[Metric, ...]:
    """`dla,act_grad` or `all`, in the order of `METRICS`. Raises `UsageError`."""
    chosen = METRICS if text == ALL else tuple(part.strip() for part in text.split(","))
    unknown = [m for m in chosen if m not in METRICS]
    if unknown:
        what = f"{unknown[0]!r} is none of {', '.join(METRICS)}, all"
        raise UsageError(what, where="--influence_metric")
    return tuple(m for m in METRICS if m in chosen)


class _Work:
    """The metrics of one target."""

    def __init__(
        self, context: AnalysisContext, resolved: ResolvedTarget, request: InfluenceRequest, progress: ProgressOf
    ) -> None:
        self.context, self.resolved, self.request, self.progress = context, resolved, request, progress

    def compute(
        self, writer: ResultsWriter, metric: Metric, earlier: dict[Metric, Attribution]
    ) -> tuple[Attribution, MetricSummary]:
        """One metric, computed and written."""
        log.info("computing %s", metric)
        stem = self._stem(metric)
        candidates = self._candidates(earlier) if metric == "ablation" else None
        settings = InfluenceSettings(**{**self.request.settings.__dict__, "candidates": candidates})
        said = {**asdict(settings), "top_from": self.request.top_from, "metric": metric}
        bound = {k: said[k] for k in ("ctx", "ablate_with", "layers", "candidates")}
        bound |= {"target": self.resolved.target.__dict__, "dtype": self.context.model.spec.dtype}
        partial = Partial(writer.path(partial_name(stem)), bound)
        with self._bar(metric, settings) as advance:
            found = influence(metric, self.context, self.resolved.target, settings, partial=partial, progress=advance)
        said["candidates"] = None if candidates is None else len(candidates)
        rows, record = write_influence(writer, stem, found, self.context, self.resolved, self.request.selection, said)
        partial.remove()
        top = rows.iloc[0].to_dict() if len(rows) else None
        warnings = tuple(record["warnings"])
        return found.attribution, MetricSummary(metric, stem, len(rows), record["selected_share"], top, warnings)

    def scores(self, writer: ResultsWriter, stem: str, attribution: Attribution, explicit_ids: list[int]) -> None:
        """What the selected neurons promote and suppress, through the norms at the target position."""
        rows, _ = select_influence(influence_frame(attribution, self.context, self.resolved), self.request.selection)
        neurons = list(dict.fromkeys(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)))
        write_write_scores(
            writer, stem, self.context, self.resolved.target.pos, neurons, top=self.request.write_scores,
            explicit_ids=explicit_ids,
        )  # fmt: skip

    def validate(self, writer: ResultsWriter, found: dict[Metric, Attribution]) -> tuple[Validation, str]:
        """Every metric against the ablation effects, which are computed if they were not asked for."""
        config, settings = self.request.validation, self.request.settings
        assert config is not None
        if "ablation" not in found:
            found = {**found, "ablation": self.compute(writer, "ablation", found)[0]}
        effects = found["ablation"]
        baseline = baseline_values(self.context, settings.ablate_with, effects.positions)
        result = validate(
            self.context.model.hf,
            self.context.token_ids,
            self.resolved.target,
            list(found.values()),
            effects,
            baseline=baseline,
            config=config,
        )
        stem = self._stem(ALL if len(self.request.metrics) > 1 else self.request.metrics[0], validation=True)
        said = {**asdict(settings), **asdict(config), "metrics": list(found)}
        write_validation(writer, stem, result, self.context, self.resolved, said)
        return result, stem

    def _candidates(self, earlier: dict[Metric, Attribution]) -> tuple[tuple[int, int], ...] | None:
        if self.request.top_from is None:
            return None
        metric, colon, k = self.request.top_from.partition(":")
        if metric not in earlier or not colon or not k.isdecimal() or not int(k):
            given = ", ".join(earlier) or "none"
            what = f"{self.request.top_from!r} is not METRIC:K with a metric of --influence_metric ({given})"
            raise UsageError(what, where="--top_from")
        frame = influence_frame(earlier[metric], self.context, self.resolved)
        rows, _ = select_influence(frame, SelectionConfig(top_k=int(k)))
        return tuple(dict.fromkeys(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)))

    def _stem(self, metric: str, *, validation: bool = False) -> str:
        target, settings = self.resolved.target, self.request.settings
        parts = [
            target.function if target.function != "pre_cap_logit" else "",
            "" if settings.ctx is None else f"ctx{settings.ctx}",
            baseline_label(settings.ablate_with)
            if metric in ("ablation", ALL) and settings.ablate_with != "mean"
            else "",
            f"from-{baseline_label(settings.ig_baseline)}" if metric == "ig" and settings.ig_baseline != "mean" else "",
            "by-layer" if metric == "ig" and settings.ig_path == "layer" else "",
            f"to-{baseline_label(settings.act_grad_source)}"
            if metric == "act_grad" and settings.act_grad_source
            else "",
        ]
        name = validation_stem if validation else influence_stem
        return name(
            self.context.prompt.probe_id, metric, target.mode, target.pos, target.token_id, foil_id=target.foil_id,
            suffix="_".join(p for p in parts if p),
        )  # fmt: skip

    @contextmanager
    def _bar(self, metric: Metric, settings: InfluenceSettings) -> Iterator[Callable[[int], None]]:
        if metric != "ablation":
            yield lambda _: None
            return
        n_layers, _, d_mlp = self.context.acts.shape
        layers = n_layers if settings.layers is None else len(settings.layers)
        n = layers * d_mlp if settings.candidates is None else len(settings.candidates)
        with self.progress("ablations", n) as bar:
            yield bar.advance


def _in_float32(run: Run, request: InfluenceRequest) -> ModelOverrides:
    """The precision of the analysis: as given; else fp32 where differences of forward passes are reported."""
    o = request.overrides
    differences = request.validation is not None or any(m in NEED_FLOAT32 for m in request.metrics)
    dtype = o.dtype or ("fp32" if differences and run.manifest.quantization in ("none", "not recorded") else None)
    return ModelOverrides(o.name, dtype, o.device, o.device_map, o.trust_remote_code)
