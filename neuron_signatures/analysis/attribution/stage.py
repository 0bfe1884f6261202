"""`--mode influence` and `--validate`: one prompt, one target, the chosen metrics, their files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from neuron_signatures.analysis.attribution.baselines import Baselines, baseline_label
from neuron_signatures.analysis.attribution.candidates import TopFrom, digest, parse_top_from, within
from neuron_signatures.analysis.attribution.estimators.checkpoint import Partial
from neuron_signatures.analysis.attribution.file_names import Naming
from neuron_signatures.analysis.attribution.influence import (
    ALL,
    METRICS,
    NEED_FLOAT32,
    Influence,
    InfluenceSettings,
    check_baselines,
    influence,
    positions_of,
)
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.model_check import AnalysisContext, ModelOverrides, open_context
from neuron_signatures.analysis.attribution.targets import ResolvedTarget, TargetRequest, resolve_pos, resolve_target
from neuron_signatures.analysis.attribution.writing import (
    influence_frame,
    select_influence,
    write_influence,
    write_write_scores,
)
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.tokens.vocab import explicit_tokens
from neuron_signatures.analysis.validation.validate import Validation, ValidationConfig, validate
from neuron_signatures.analysis.validation.writing import write_validation
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import UNRECORDED, Dtype
from neuron_signatures.runs.results import TOP_STEM, ResultsWriter, open_results, partial_name
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

    @property
    def computed(self) -> tuple[Metric, ...]:
        """The metrics asked for, and ablation where they are validated."""
        return self.metrics if self.validation is None else tuple(dict.fromkeys((*self.metrics, "ablation")))


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
    validation_warnings: tuple[str, ...]


ProgressOf = Callable[[str, int], Any]


def run_influence(run: Run, request: InfluenceRequest, *, progress: ProgressOf) -> InfluenceOutcome:
    """Compute the chosen metrics, write their files, and validate them if asked. Raises the project's errors.

    What is wrong with the request is found before anything is written. `progress(name, n)` gives a context manager
    whose value has `advance(n)`.
    """
    for name in (request.settings.ig_baseline, request.settings.ablate_with, request.settings.act_grad_source):
        if name is not None:
            baseline_label(run, name)
    top_from = None
    if request.top_from is not None:
        top_from = parse_top_from(request.top_from, request.metrics, ablates="ablation" in request.computed)
    context = open_context(run, request.prompt, _with_dtype(run, request))
    resolved = resolve_target(context.model, context.token_ids, request.target)
    explicit_ids = explicit_tokens(context.model.tokenizer, request.explicit) if request.explicit else []
    work = _Work(context, resolved, request, top_from, progress)
    work.prepare()
    with open_results(run) as writer:
        found: dict[Metric, Attribution] = {}
        summaries = []
        for metric in request.metrics:
            found[metric], summary = work.compute(writer, metric)
            summaries.append(summary)
            if request.write_scores:
                work.scores(writer, summary.stem, found[metric], explicit_ids)
        validated = work.validate(writer, found) if request.validation else (None, None, ())
    return InfluenceOutcome(resolved, context.prompt.probe_id, tuple(summaries), *validated)


class PeakScores:
    """The write scores of the neurons that peaks selects, at the target position of the chosen prompt.

    Made before peaks are written, so that what is wrong with the request, or with the model, is found first.
    """

    def __init__(self, run: Run, request: InfluenceRequest) -> None:
        self._context = open_context(run, request.prompt, request.overrides)
        self._pos = resolve_pos(request.target.pos, self._context.prompt.seq_len, where="--target_pos")
        text, tokenizer = request.explicit, self._context.model.tokenizer
        self._explicit_ids = explicit_tokens(tokenizer, text) if text else []
        self._top = request.write_scores

    def write(self, writer: ResultsWriter, neurons: Sequence[tuple[int, int]]) -> None:
        write_write_scores(
            writer, TOP_STEM, self._context, self._pos, list(neurons), top=self._top, explicit_ids=self._explicit_ids
        )


def parse_metrics(text: str) -> tuple[Metric, ...]:
    """`dla,act_grad` or `all`, in the order of `METRICS`. Raises `UsageError`."""
    chosen = [part.strip() for part in text.split(",")]
    unknown = [m for m in chosen if m not in (*METRICS, ALL)]
    if unknown:
        what = f"{unknown[0]!r} is none of {', '.join(METRICS)}, all"
        raise UsageError(what, where="--influence_metric")
    return tuple(m for m in METRICS if m in chosen or ALL in chosen)


class _Work:
    """The metrics of one target."""

    def __init__(
        self,
        context: AnalysisContext,
        resolved: ResolvedTarget,
        request: InfluenceRequest,
        top_from: TopFrom | None,
        progress: ProgressOf,
    ) -> None:
        self.context, self.resolved, self.request, self.progress = context, resolved, request, progress
        self.top_from, self.settings = top_from, request.settings
        positions = positions_of(request.settings.ctx, context.prompt.seq_len, resolved.target.pos)
        self.baselines = Baselines(context, positions)
        self.naming = Naming(
            context.run, context.prompt.probe_id, resolved.target, positions, request.settings, top_from,
            _unusual_dtype(context.run, request),
        )  # fmt: skip
        self._ready: dict[Metric, Influence] = {}

    def prepare(self) -> None:
        """Choose the candidates for ablation, and raise what is wrong with the request: nothing is written yet."""
        cheap = [m for m in self.request.computed if m != "ablation"]
        check_baselines(cheap, self.settings, self.baselines)
        if self.top_from is not None:
            source = self._ready[self.top_from.metric] = self._influence(self.top_from.metric, None)
            frame = influence_frame(source.attribution, self.context, self.resolved)
            rows, _ = select_influence(frame, SelectionConfig(top_k=self.top_from.k))
            ranked = list(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True))
            self.settings = replace(
                self.settings, candidates=within(ranked, self.settings.layers, top_from=self.top_from)
            )
        if "ablation" in self.request.computed:
            # sets are of every neuron of the layers, whichever were ablated alone
            tested = self.settings if self.request.validation is None else replace(self.settings, candidates=None)
            check_baselines(["ablation"], tested, self.baselines)

    def compute(self, writer: ResultsWriter, metric: Metric) -> tuple[Attribution, MetricSummary]:
        """One metric, computed and written."""
        stem = self.naming.influence(metric)
        said = self._said(metric)
        partial = Partial(writer.path(partial_name(stem)), self._bound())
        found = self._ready.pop(metric, None) or self._influence(metric, partial)
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

    def validate(
        self, writer: ResultsWriter, found: dict[Metric, Attribution]
    ) -> tuple[Validation, str, tuple[str, ...]]:
        """Every metric against the ablation effects, which are computed if they were not asked for: the result, the
        stem of its files, and its warnings."""
        config = self.request.validation
        assert config is not None
        if "ablation" not in found:
            found = {**found, "ablation": self.compute(writer, "ablation")[0]}
        result = validate(
            self.context.model.hf,
            self.context.token_ids,
            self.resolved.target,
            list(found.values()),
            found["ablation"],
            baseline=self.baselines.values(self.settings.ablate_with),
            config=config,
        )
        stem = self.naming.validation(self.request.metrics, config)
        said = {**self._said(None), **asdict(config), "metrics": list(found)}
        record = write_validation(writer, stem, result, self.context, self.resolved, said)
        return result, stem, tuple(record["warnings"])

    def _influence(self, metric: Metric, partial: Partial | None) -> Influence:
        log.info("computing %s", metric)
        with self._bar(metric) as advance:
            return influence(
                metric, self.context, self.resolved.target, self.settings,
                baselines=self.baselines, partial=partial, progress=advance,
            )  # fmt: skip

    def _said(self, metric: Metric | None) -> dict[str, Any]:
        """The settings of a result as its record has them: of candidates the number, and where they are from."""
        candidates = self.settings.candidates
        said = {**asdict(self.settings), "positions": self.baselines.positions, "top_from": self.request.top_from}
        said["candidates"] = None if candidates is None else len(candidates)
        return said if metric is None else {**said, "metric": metric}

    def _bound(self) -> dict[str, Any]:
        """What an unfinished ablation has to share with the one that goes on."""
        s = self.settings
        return {
            "positions": self.baselines.positions,
            "ablate_with": s.ablate_with,
            "layers": s.layers,
            "candidates": digest(s.candidates),
            "target": asdict(self.resolved.target),
            "dtype": self.context.model.spec.dtype,
        }

    @contextmanager
    def _bar(self, metric: Metric) -> Iterator[Callable[[int], None]]:
        if metric != "ablation":
            yield lambda _: None
            return
        n_layers, _, d_mlp = self.context.acts.shape
        s = self.settings
        layers = n_layers if s.layers is None else len(s.layers)
        n = (layers * d_mlp if s.candidates is None else len(s.candidates)) * len(self.baselines.positions)
        with self.progress("ablations", n) as bar:
            yield bar.advance


def _with_dtype(run: Run, request: InfluenceRequest) -> ModelOverrides:
    """The overrides with the precision of the analysis: as given, else the one that the stage chooses."""
    return replace(request.overrides, dtype=request.overrides.dtype or _default_dtype(run, request))


def _default_dtype(run: Run, request: InfluenceRequest) -> Dtype:
    """fp32 where differences of forward passes are reported, else as the run was made."""
    differences = any(m in NEED_FLOAT32 for m in request.computed)
    quantization = run.manifest.quantization
    if differences and (quantization in ("none", UNRECORDED) or quantization.startswith("checkpoint:gguf-")):
        return "fp32"
    return run.manifest.model_dtype


def _unusual_dtype(run: Run, request: InfluenceRequest) -> Dtype | None:
    given = request.overrides.dtype
    return None if given == _default_dtype(run, request) else given
