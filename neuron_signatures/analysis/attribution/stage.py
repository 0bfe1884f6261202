"""The work of `--mode influence` and `--validate`: the chosen metrics for one target of one prompt, and their files."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.candidates import TopFrom, digest, parse_top_from, within
from neuron_signatures.analysis.attribution.checked_prompt import CheckedPrompt, check_prompt
from neuron_signatures.analysis.attribution.file_names import Naming
from neuron_signatures.analysis.attribution.finished import FinishedMetric, FinishedMetrics, Layout
from neuron_signatures.analysis.attribution.first_neurons import (
    FirstNeuron,
    first_neurons,
)
from neuron_signatures.analysis.attribution.forecast import Plan, forecast
from neuron_signatures.analysis.attribution.influence import (
    SOME_LAYERS,
    Influence,
    InfluenceSettings,
    influence,
    positions_of,
    refuse_undefined_reference,
)
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.precision import DIFFERENCES, default_dtype
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import (
    NO_RESAMPLING,
    ZERO,
    Reference,
    ReferenceChoice,
    Resampling,
    choose_reference,
    reference_at,
)
from neuron_signatures.analysis.attribution.request import InfluenceRequest, command_settings
from neuron_signatures.analysis.attribution.targets import ResolvedTarget, resolve_pos, resolve_target
from neuron_signatures.analysis.attribution.writing import (
    TokenScorer,
    influence_frame,
    neurons_of,
    select_influence,
    write_influence,
)
from neuron_signatures.analysis.partial import Partial
from neuron_signatures.analysis.progress import ProgressOf
from neuron_signatures.analysis.report_text import neuron_name
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.signatures.names import Names, signature_names
from neuron_signatures.analysis.tokens.vocab import explicit_tokens
from neuron_signatures.analysis.validation.curves import N_RESAMPLED, most_sets
from neuron_signatures.analysis.validation.measure import Measurement, sampled_effects, validation_of
from neuron_signatures.analysis.validation.sample import refuse_small_sample
from neuron_signatures.analysis.validation.truth import ValidationConfig
from neuron_signatures.analysis.validation.validate import Validation
from neuron_signatures.analysis.validation.writing import write_validation
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import ResultsWriter, open_results, partial_name
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MetricSummary:
    """Summary of one ranking. `stem` is that of its files; `first` are its first neurons."""

    metric: str
    stem: str
    n_selected: int
    selected_share: float
    first: tuple[FirstNeuron, ...]
    warnings: tuple[str, ...]


class Validated(NamedTuple):
    """A validation, the stem of its files, and its record."""

    result: Validation
    stem: str
    record: dict[str, Any]


@dataclass(frozen=True)
class InfluenceOutcome:
    resolved: ResolvedTarget
    reference: Reference
    prompt_id: str
    metrics: tuple[MetricSummary, ...]
    validated: Validated | None


class _Computed(NamedTuple):
    attribution: Attribution
    summary: MetricSummary


def run_influence(run: Run, request: InfluenceRequest, *, progress: ProgressOf) -> InfluenceOutcome:
    """Compute the chosen metrics, write their files, and validate them if requested. Raises the project's errors.

    The request is checked before anything is written.
    """
    s = request.settings
    validation = request.validation
    resampling = Resampling(N_RESAMPLED, validation.seed) if validation else NO_RESAMPLING
    choice = choose_reference(
        run, request.reference, min_tokens=request.min_mean_tokens, resampling=resampling, progress=progress
    )
    top_from = None
    if request.top_from is not None:
        top_from = parse_top_from(request.top_from, request.metrics, ablates="ablation" in request.computed)
    dtype = request.overrides.dtype or default_dtype(run.manifest, request.computed)
    reason = DIFFERENCES if request.overrides.dtype is None else None
    checked = check_prompt(run, request.prompt, replace(request.overrides, dtype=dtype), dtype_reason=reason)
    prompt = checked.prompt
    resolved = resolve_target(checked.model, prompt.token_ids, request.target)
    scorer = _token_scorer(checked, resolved.target.pos, request)
    positions = positions_of(s.ctx, prompt.seq_len, resolved.target.pos)
    naming = Naming(
        choice.label, run.manifest.n_layers, prompt.probe_id, resolved.target, positions, s, top_from,
        None if dtype == run.manifest.model_dtype else dtype,
    )  # fmt: skip
    problem = Problem(checked.model.hf, prompt.token_ids, resolved.target, positions)
    reference = reference_at(choice, run, checked.model, prompt, positions)
    checked = replace(checked, warnings=(*checked.warnings, *choice.warnings, *_first_position(choice, positions)))
    names = signature_names(run)
    settings = command_settings(request, checked, problem, reference)
    finished = FinishedMetrics(run, naming.unfinished(request.metrics), settings)
    finished.resume()
    stage = _InfluenceStage(
        checked, resolved, problem, request, top_from, naming, reference, names, progress, finished, s
    )  # fmt: skip
    if (plan := stage.plan()).is_heavy:
        log.info("%s", forecast(problem, plan).line())
    stage.prepare()
    with open_results(run) as writer:
        computed: list[_Computed] = []
        for metric in stage.metrics:
            computed.append(stage.compute(writer, metric, scorer if request.write_scores else None))
        found = {c.attribution.metric: c.attribution for c in computed}
        validated = stage.validate(writer, found, request.validation) if request.validation else None
        finished.remove()
    return InfluenceOutcome(resolved, reference, prompt.probe_id, tuple(c.summary for c in computed), validated)


def peak_token_scorer(run: Run, request: InfluenceRequest) -> TokenScorer:
    """Computes the write scores of the neurons that peaks selects, at the target position of the chosen prompt.

    Created before peaks are written, so that errors of the request or the model come first.
    """
    checked = check_prompt(run, request.prompt, request.overrides)
    return _token_scorer(
        checked, resolve_pos(request.target.pos, checked.prompt.seq_len, where="--target_pos"), request
    )


@dataclass
class _InfluenceStage:
    """Computes and writes the metrics of one target."""

    checked: CheckedPrompt
    resolved: ResolvedTarget
    problem: Problem
    request: InfluenceRequest
    top_from: TopFrom | None
    naming: Naming
    reference: Reference
    names: Names
    progress: ProgressOf
    finished: FinishedMetrics
    settings: InfluenceSettings
    _ready: dict[Metric, Influence] = field(default_factory=dict)

    @property
    def samples(self) -> bool:
        """Whether only a sample of the neurons is ablated alone, so that ablation has no ranking."""
        config = self.request.validation
        if config is None or config.sample is None or self.top_from is not None:
            return False
        return config.sample < len(self._layers) * self._acts[0].numel()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that have a ranking."""
        return tuple(m for m in self.request.metrics if not (m == "ablation" and self.samples))

    def plan(self) -> Plan:
        """The work that takes long."""
        s, config, computed = self.settings, self.request.validation, self.request.computed
        paths = len(self._layers) if s.ig_path == "layer" else 1
        points = (paths * s.ig_steps, paths * max(s.ig_steps, s.ig_max_steps)) if "ig" in computed else (0, 0)
        n_pairs = len(self._layers) * self._acts[0].numel()
        n_ablated = 0
        if "ablation" in computed:
            chosen = None if self.top_from is None else self.top_from.k * len(self.problem.positions)
            sample = config.sample if config and self.samples else None
            n_ablated = min(n for n in (n_pairs, chosen, sample) if n is not None)
        n_sets = 0
        if config is not None:
            rankings = set(computed) - ({"ablation"} if self.samples else set())
            n_neurons = n_pairs // len(self.problem.positions)
            resampled = self.reference.resampled is not None
            n_sets = most_sets(len(rankings), n_neurons, config.n_random, resampled=resampled)
        return Plan(points, n_ablated, n_sets, s.ablation_batch)

    def prepare(self) -> None:
        """Choose the candidates for ablation, and raise the errors of the request: nothing is written yet."""
        if not self.metrics:
            what = "a sample of ablations is no ranking, and no other metric is chosen"
            raise UsageError(what, where="--validate", next_step="Add a metric to --influence_metric, or --sample all")
        config = self.request.validation
        if config is not None and config.sample is not None and self.samples:
            refuse_small_sample(config.sample, len(self._layers))
        held = self._held()
        if "ig" in self.request.computed:
            refuse_undefined_reference("ig", self.settings, held)
        if self.top_from is not None:
            source = self._source(self.top_from.metric)
            frame = influence_frame(source, self.reference, self.checked.prompt, self.resolved)
            rows, _ = select_influence(frame, SelectionConfig(top_k=self.top_from.k))
            candidates = within(neurons_of(rows), self.settings.layers, top_from=self.top_from)
            self.settings = replace(self.settings, candidates=candidates)
        if "ablation" in self.request.computed:
            # sets are of all neurons of the layers, whichever were ablated alone
            tested = self.settings if self.request.validation is None else replace(self.settings, candidates=None)
            refuse_undefined_reference("ablation", tested, held)

    def compute(self, writer: ResultsWriter, metric: Metric, scorer: TokenScorer | None) -> _Computed:
        """Compute one metric and write its files, with write scores if there is a `scorer`.

        A metric that this command finished before it was stopped is read from its files.
        """
        stem, start = self.naming.influence(metric), time.monotonic()
        partial = Partial(writer, partial_name(stem), self._partial_settings(metric))
        before = self._finished(metric)
        if before is not None:
            log.info("%s is finished: read from analysis/%s.*", metric, stem)
            partial.remove()
            frame = influence_frame(before.influence, self.reference, self.checked.prompt, self.resolved)
            rows, _ = select_influence(frame, self.request.selection)
            return self._computed(stem, before.influence.attribution, rows, before.record)
        found = self._ready.pop(metric, None) or self._influence(metric, partial)
        settings = {**self._recorded_settings(), "metric": metric}
        rows, record = write_influence(
            writer, stem, found, self.reference, self.checked, self.resolved, self.request.selection, settings, scorer
        )
        self.finished.add(metric, stem)
        partial.remove()
        computed = self._computed(stem, found.attribution, rows, record)
        _log_finished(computed.summary, time.monotonic() - start)
        return computed

    def _computed(self, stem: str, found: Attribution, rows: pd.DataFrame, record: dict[str, Any]) -> _Computed:
        """A metric with its summary, from its selected rows and its record."""
        target_pos = self.problem.target.pos
        first = first_neurons(rows, record["score_column"], self._held_at, self.checked, target_pos, self.names)
        warnings = tuple(record["warnings"])
        return _Computed(found, MetricSummary(found.metric, stem, len(rows), record["selected_share"], first, warnings))

    def _finished(self, metric: Metric) -> FinishedMetric | None:
        n_layers, _, n_neurons = self.checked.acts.shape
        some = self.settings.layers if metric in SOME_LAYERS else None
        layers = tuple(range(n_layers)) if some is None else some
        layout = Layout(layers, self.problem.positions, n_neurons, by_zero=self.reference.is_zero)
        return self.finished.read(metric, self.naming.influence(metric), layout)

    def _source(self, metric: Metric) -> Influence:
        """The metric that chooses the candidates."""
        before = self._finished(metric)
        if before is not None:
            return before.influence
        self._ready[metric] = self._influence(metric, None)
        return self._ready[metric]

    def validate(self, writer: ResultsWriter, found: dict[Metric, Attribution], config: ValidationConfig) -> Validated:
        """Compare every metric with ablations: of a sample, or of all neurons that the ablation metric has."""
        stem = self.naming.validation(self.request.metrics, config)
        partials: list[Partial] = []

        def partial(name: str, own: dict[str, object]) -> Partial:
            settings = {**self._partial_settings("ablation"), **asdict(config), **own}
            partials.append(Partial(writer, partial_name(f"{stem}_{name}"), settings))
            return partials[-1]

        m = Measurement(self.problem, self._acts, self._layers, self.reference, config, partial, self.progress)
        sample = None
        if self.samples:
            effects, sample = sampled_effects(m, list(found.values()))
        else:
            if "ablation" not in found:
                found = {**found, "ablation": self.compute(writer, "ablation", None).attribution}
            effects = found["ablation"]
        rankings = list(found.values())
        result, truth = validation_of(m, rankings, effects, sample)
        settings = {**self._recorded_settings(), **asdict(config), "metrics": list(found)}
        record = write_validation(
            writer, stem, result, truth, rankings, self.reference, self.checked, self.resolved, settings
        )
        for unfinished in partials:
            unfinished.remove()
        return Validated(result, stem, record)

    @property
    def _acts(self) -> Float[Tensor, "layer pos neuron"]:
        return self.checked.acts[:, list(self.problem.positions)]

    @property
    def _layers(self) -> tuple[int, ...]:
        """The layers whose neurons are ablated."""
        return tuple(range(len(self.checked.acts))) if self.settings.layers is None else self.settings.layers

    def _held(self) -> Float[Tensor, "layer pos neuron"]:
        """The reference of every neuron at the problem's positions."""
        return self.reference.held(self._acts)

    def _held_at(self, layer: int, pos: int, neuron: int) -> float:
        return float(self._held()[layer, self.problem.positions.index(pos), neuron])

    def _influence(self, metric: Metric, partial: Partial | None) -> Influence:
        log.info("computing %s", metric)
        return influence(
            metric, self.problem, self.checked.acts, self.settings,
            reference=self.reference, partial=partial, progress=self.progress,
        )  # fmt: skip

    def _recorded_settings(self) -> dict[str, Any]:
        """The settings for the record, with the number of candidates instead of the candidates."""
        candidates = self.settings.candidates
        return {
            **asdict(self.settings),
            "reference": self.reference.name,
            "min_mean_tokens": self.request.min_mean_tokens,
            "positions": self.problem.positions,
            "top_from": self.request.top_from,
            "candidates": None if candidates is None else len(candidates),
        }

    def _partial_settings(self, metric: Metric) -> dict[str, Any]:
        """The settings that an interrupted ig or ablation must share with the one that resumes it."""
        s = self.settings
        ig = {"ig_steps": s.ig_steps, "ig_max_steps": s.ig_max_steps, "ig_path": s.ig_path} if metric == "ig" else {}
        return {
            **ig,
            "run_created_at_utc": self.checked.run["created_at_utc"],
            "positions": self.problem.positions,
            "reference": self.reference.identity(),
            "layers": s.layers,
            "candidates": digest(s.candidates),
            "target": asdict(self.problem.target),
            "dtype": self.checked.model.spec.dtype,
        }


def _token_scorer(checked: CheckedPrompt, pos: int, request: InfluenceRequest) -> TokenScorer:
    ids = explicit_tokens(checked.model.tokenizer, request.explicit) if request.explicit else []
    return TokenScorer(checked.model, checked.prompt, pos, request.write_scores, ids)


def _first_position(choice: ReferenceChoice, positions: Sequence[int]) -> list[str]:
    """A warning if the first position is compared with a mean, which leaves first positions out."""
    if 0 not in positions or choice.mean is None or choice.name == ZERO:
        return []
    return [f"position 0 has massive activations, and the reference ({choice.name}) is a mean without first positions"]


def _log_finished(summary: MetricSummary, seconds: float) -> None:
    first = ""
    if summary.first:
        neuron = summary.first[0]
        first = f", first {neuron_name(neuron.layer, neuron.neuron)} {neuron.score:+.3f}"
    log.info("%s: %.1f s%s, written to analysis/%s.*", summary.metric, seconds, first, summary.stem)
