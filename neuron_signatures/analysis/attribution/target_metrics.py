"""Computes, writes and validates the metrics of one target."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.candidates import TopFrom, digest, within
from neuron_signatures.analysis.attribution.file_names import Naming
from neuron_signatures.analysis.attribution.finished import FinishedMetric, FinishedMetrics, Layout
from neuron_signatures.analysis.attribution.first_neurons import (
    first_neurons,
)
from neuron_signatures.analysis.attribution.forecast import Plan
from neuron_signatures.analysis.attribution.influence import (
    OF_LOG_P,
    SOME_LAYERS,
    Influence,
    InfluenceSettings,
    ablated_layers,
    ablations_of,
    influence,
    not_comparable,
    refuse_undefined_reference,
)
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.outcome import Computed, MeasuredShard, MetricSummary, Validated
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import (
    Reference,
)
from neuron_signatures.analysis.attribution.request import InfluenceRequest, no_ranking, nothing_compared
from neuron_signatures.analysis.attribution.targets import ResolvedTarget
from neuron_signatures.analysis.attribution.writing import (
    TokenScorer,
    influence_frame,
    neurons_of,
    select_influence,
    write_influence,
)
from neuron_signatures.analysis.report_text import neuron_name
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.signatures.names import Names
from neuron_signatures.analysis.validation.curves import set_groups
from neuron_signatures.analysis.validation.measure import (
    Measurement,
    PartialOf,
    partial_effects,
    sampled_ablations,
    sampled_effects,
    validation_of,
)
from neuron_signatures.analysis.validation.truth import ValidationConfig
from neuron_signatures.analysis.validation.writing import write_validation
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter, meta_name, partial_name
from neuron_signatures.runs.sharding.files import ShardFiles
from neuron_signatures.runs.sharding.locks import refuse_running_shards
from neuron_signatures.runs.sharding.shard import Shard

log = logging.getLogger(__name__)


@dataclass
class TargetMetrics:
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
        """The work that takes long; not that of metrics that this command finished before it was stopped."""
        s, config, computed = self.settings, self.request.validation, self.request.computed
        todo = set(computed) - self.finished.metrics
        paths = len(self._layers) if s.ig_path == "layer" else 1
        points = (paths * s.ig_steps, paths * max(s.ig_steps, s.ig_max_steps)) if "ig" in todo else (0, 0)
        n_pairs = len(self._layers) * self._acts[0].numel()
        n_ablated = 0
        if "ablation" in todo:
            chosen = None if self.top_from is None else self.top_from.k * len(self.problem.positions)
            sample = config.sample if config and self.samples else None
            n_ablated = min(n for n in (n_pairs, chosen, sample) if n is not None)
        sets: tuple[list[int], list[int]] = ([], [])
        if config is not None:
            rankings = set(self._compared(computed)) - ({"ablation"} if self.samples else set())
            n_neurons = n_pairs // len(self.problem.positions)
            resampled = self.reference.resampled is not None
            sets = set_groups(len(rankings), n_neurons, config.n_random, resampled=resampled)
        read_out = len(self._layers) * self._acts.shape[-1] if todo & set(OF_LOG_P) else 0
        return Plan(points, n_ablated, sets, s.ablation_batch, read_out)

    def prepare(self) -> None:
        """Choose the candidates for ablation, and raise the errors of the request: nothing is written yet."""
        if not self.metrics:
            raise no_ranking()
        if self.request.validation is not None and not set(self._compared(self.request.metrics)):
            raise nothing_compared(self.request.metrics, self.problem.target)
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

    def compute(self, writer: ResultsWriter, metric: Metric, scorer: TokenScorer | None) -> Computed:
        """Compute one metric and write its files, with write scores if there is a `scorer`.

        A metric that this command finished before it was stopped is read from its files.
        """
        stem, start = self.naming.influence(metric), time.monotonic()
        partial = self._partial(writer, metric)
        before = self._finished(metric)
        if before is not None:
            log.info("%s is finished: read from analysis/%s.*", metric, stem)
            partial.remove()
            frame = influence_frame(before.influence, self.reference, self.checked.prompt, self.resolved)
            rows, _ = select_influence(frame, self.request.selection)
            return self._computed(stem, before.influence.attribution, rows, before.record)
        if metric == "ablation" and self.request.merge:
            ablations_of(self.problem, self.checked.acts, self.settings, self.reference).join_shards(partial)
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

    def _computed(self, stem: str, found: Attribution, rows: pd.DataFrame, record: dict[str, Any]) -> Computed:
        """A metric with its summary, from its selected rows and its record."""
        target_pos = self.problem.target.pos
        first = first_neurons(rows, record["score_column"], self._held_at, self.checked, target_pos, self.names)
        warnings = tuple(record["warnings"])
        return Computed(found, MetricSummary(found.metric, stem, len(rows), record["selected_share"], first, warnings))

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
        compared = self._compared(found)
        not_compared = {str(m): why for m in found if (why := not_comparable(m, self.problem.target))}
        found = {m: a for m, a in found.items() if m in compared}
        partials: list[Partial] = []

        def partial(name: str, own: dict[str, object]) -> Partial:
            partials.append(self._partial_of_validation(writer, config, name, own))
            return partials[-1]

        m = self._measurement(config, partial)
        sample = None
        if self.samples:
            ablations, sample = sampled_ablations(m, list(found.values()))
            stored = partial_effects(m, list(found.values()), sample)
            if self.request.merge:
                ablations.join_shards(stored)
            effects = sampled_effects(m, ablations, stored)
        else:
            if "ablation" not in found:
                found = {**found, "ablation": self.compute(writer, "ablation", None).attribution}
            effects = found["ablation"]
        rankings = list(found.values())
        result, truth = validation_of(m, rankings, effects, sample)
        settings = {**self._recorded_settings(), **asdict(config), "metrics": list(found)}
        record = write_validation(
            writer, stem, result, truth, rankings, self.reference, self.checked, self.resolved, settings, not_compared
        )
        for unfinished in partials:
            unfinished.remove()
        return Validated(result, stem, record)

    def measure_shard(self, writer: ResultsWriter, shard: Shard) -> MeasuredShard:
        """Measure a shard of the single ablations: of the candidates, or of the sample of a validation."""
        config = self.request.validation
        if config is not None and self.samples:
            m = self._measurement(config, lambda name, own: self._partial_of_validation(writer, config, name, own))
            rankings = [self._influence(metric, None).attribution for metric in self._compared(self.metrics)]
            ablations, sample = sampled_ablations(m, rankings)
            partial = partial_effects(m, rankings, sample)
        else:
            ablations = ablations_of(self.problem, self.checked.acts, self.settings, self.reference)
            partial = self._partial(writer, "ablation")
        n = ablations.measure_shard(partial, shard, self.progress)
        return MeasuredShard(shard, n, int(ablations.wanted.sum()), partial.shard_files().name(shard))

    def shards(self, writer: ResultsWriter) -> ShardFiles:
        """The files of the shards of the single ablations."""
        config = self.request.validation
        if config is not None and self.samples:
            return self._partial_of_validation(writer, config, "effects", {}).shard_files()
        return self._partial(writer, "ablation").shard_files()

    def refuse_missing_shards(self, writer: ResultsWriter) -> None:
        """Raise `UsageError` if shards are missing, `RunLockedError` if one is being measured, before anything else is
        computed. They are gone if a stopped command has finished the metric that they are of."""
        if "ablation" not in self.finished.metrics:
            files = self.shards(writer)
            refuse_running_shards(writer.run_dir, files.stem)
            if not files.stored() and (writer.folder / meta_name(self._result_stem)).exists():
                next_step = "Leave --merge away to compute everything again"
                raise UsageError("the shards have been joined already", where=str(writer.folder), next_step=next_step)
            files.refuse_missing()

    @property
    def _result_stem(self) -> str:
        """Of the last result that the ablations are for."""
        config = self.request.validation
        return (
            self.naming.influence("ablation")
            if config is None
            else self.naming.validation(self.request.metrics, config)
        )

    def _partial(self, writer: ResultsWriter, metric: Metric) -> Partial:
        return Partial(writer, partial_name(self.naming.influence(metric)), self._partial_settings(metric))

    def _partial_of_validation(
        self, writer: ResultsWriter, config: ValidationConfig, name: str, own: dict[str, object]
    ) -> Partial:
        stem = self.naming.validation(self.request.metrics, config)
        settings = {**self._partial_settings("ablation"), **asdict(config), **own}
        return Partial(writer, partial_name(f"{stem}_{name}"), settings)

    def _measurement(self, config: ValidationConfig, partial: PartialOf) -> Measurement:
        return Measurement(self.problem, self._acts, self._layers, self.reference, config, partial, self.progress)

    @property
    def _acts(self) -> Float[Tensor, "layer pos neuron"]:
        return self.checked.acts[:, list(self.problem.positions)]

    @property
    def _layers(self) -> tuple[int, ...]:
        """The layers whose neurons are ablated."""
        return ablated_layers(self.checked.acts, self.settings)

    def _held(self) -> Float[Tensor, "layer pos neuron"]:
        """The reference of every neuron at the problem's positions."""
        return self.reference.held(self._acts)

    def _held_at(self, layer: int, pos: int, neuron: int) -> float:
        return float(self._held()[layer, self.problem.positions.index(pos), neuron])

    def _influence(self, metric: Metric, partial: Partial | None) -> Influence:
        values = self._source("prob_increase").attribution if metric == "prob_increase_query" else None
        log.info("computing %s", metric)
        return influence(
            metric, self.problem, self.checked.acts, self.settings,
            reference=self.reference, partial=partial, progress=self.progress, values=values,
        )  # fmt: skip

    def _compared(self, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
        """Those that a validation compares with the effects of ablations."""
        return tuple(m for m in metrics if not not_comparable(m, self.problem.target))

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


def _log_finished(summary: MetricSummary, seconds: float) -> None:
    first = ""
    if summary.first:
        neuron = summary.first[0]
        first = f", first {neuron_name(neuron.layer, neuron.neuron)} {neuron.score:+.3f}"
    log.info("%s: %.1f s%s, written to analysis/%s.*", summary.metric, seconds, first, summary.stem)
