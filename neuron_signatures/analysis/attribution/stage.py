"""The work of `--mode influence` and `--validate`: the chosen metrics for one target of one prompt, and their files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from neuron_signatures.analysis.attribution.candidates import parse_top_from
from neuron_signatures.analysis.attribution.file_names import Naming
from neuron_signatures.analysis.attribution.finished import FinishedMetrics
from neuron_signatures.analysis.attribution.forecast import forecast
from neuron_signatures.analysis.attribution.influence import (
    positions_of,
)
from neuron_signatures.analysis.attribution.outcome import Computed, InfluenceOutcome, MeasuredShard
from neuron_signatures.analysis.attribution.precision import DIFFERENCES, default_dtype
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import (
    NO_RESAMPLING,
    ZERO,
    ReferenceChoice,
    Resampling,
    choose_reference,
    reference_at,
)
from neuron_signatures.analysis.attribution.request import InfluenceRequest, command_settings, no_ranking
from neuron_signatures.analysis.attribution.target_metrics import TargetMetrics
from neuron_signatures.analysis.attribution.targets import resolve_pos, resolve_target
from neuron_signatures.analysis.attribution.writing import (
    TokenScorer,
)
from neuron_signatures.analysis.signatures.names import signature_names
from neuron_signatures.analysis.tokens.vocab import explicit_tokens
from neuron_signatures.analysis.validation.curves import N_RESAMPLED
from neuron_signatures.analysis.validation.sample import refuse_small_sample
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt, check_prompt
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.locks import shard_lock
from neuron_signatures.runs.sharding.shard import Shard

log = logging.getLogger(__name__)


def run_influence(run: Run, request: InfluenceRequest, *, progress: ProgressOf) -> InfluenceOutcome:
    """Compute the chosen metrics, write their files, and validate them if requested. Raises the project's errors.

    The request is checked before anything is written.
    """
    stage, scorer = _prepared(run, request, progress, tell=True)
    with open_results(run) as writer:
        if request.merge:
            stage.refuse_missing_shards(writer)
        computed: list[Computed] = []
        for metric in stage.metrics:
            computed.append(stage.compute(writer, metric, scorer if request.write_scores else None))
        found = {c.attribution.metric: c.attribution for c in computed}
        validated = stage.validate(writer, found, request.validation) if request.validation else None
        stage.finished.remove()
    prompt_id = stage.checked.prompt.probe_id
    return InfluenceOutcome(stage.resolved, stage.reference, prompt_id, tuple(c.summary for c in computed), validated)


def measure_shard(run: Run, request: InfluenceRequest, shard: Shard, *, progress: ProgressOf) -> MeasuredShard:
    """Measure one shard of the single ablations of a request, beside others, and store them for its merge.

    The lock of the run is held only until that of the shard is. Raises `UsageError` if the request ablates nothing.
    """
    request.refuse_without_ablations()
    stage, _ = _prepared(run, request, progress, tell=False)
    with contextlib.ExitStack() as lock:
        with open_results(run, wait=True) as writer:
            files = stage.shards(writer)
            files.refuse_other_split(shard.of)
            lock.enter_context(shard_lock(run.path, files.stem, shard))
        return stage.measure_shard(writer, shard)


def _prepared(
    run: Run, request: InfluenceRequest, progress: ProgressOf, *, tell: bool
) -> tuple[TargetMetrics, TokenScorer]:
    """The work of a request, checked, and what computes the write scores. Loads the model; `tell` logs a forecast."""
    s = request.settings
    validation = request.validation
    resampling = Resampling(N_RESAMPLED, validation.seed) if validation else NO_RESAMPLING
    choice = choose_reference(
        run, request.reference, min_tokens=request.min_mean_tokens, resampling=resampling, progress=progress
    )
    top_from = None
    if request.top_from is not None:
        top_from = parse_top_from(request.top_from, request.metrics, ablates="ablation" in request.computed)
    _refuse_sample(run, request)
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
    checked = replace(
        checked, warnings=(*checked.warnings, *choice.warnings, *first_position_warning(choice, positions))
    )
    names = signature_names(run)
    settings = command_settings(request, checked, problem, reference)
    finished = FinishedMetrics(run, naming.unfinished(request.metrics), settings)
    finished.resume()
    stage = TargetMetrics(
        checked, resolved, problem, request, top_from, naming, reference, names, progress, finished, s
    )  # fmt: skip
    if tell and (plan := stage.plan()).is_heavy:
        log.info("%s", forecast(problem, plan).line())
    stage.prepare()
    return stage, scorer


def peak_token_scorer(run: Run, request: InfluenceRequest) -> TokenScorer:
    """Computes the write scores of the neurons that peaks selects, at the target position of the chosen prompt.

    Created before peaks are written, so that errors of the request or the model come first.
    """
    checked = check_prompt(run, request.prompt, request.overrides)
    return _token_scorer(
        checked, resolve_pos(request.target.pos, checked.prompt.seq_len, where="--target_pos"), request
    )


def _token_scorer(checked: CheckedPrompt, pos: int, request: InfluenceRequest) -> TokenScorer:
    ids = explicit_tokens(checked.model.tokenizer, request.explicit) if request.explicit else []
    return TokenScorer(checked.model, checked.prompt, pos, request.write_scores, ids)


def _refuse_sample(run: Run, request: InfluenceRequest) -> None:
    """Raise `UsageError`, before a model is loaded, for a sample that is too small or has no ranking to test."""
    config, layers = request.validation, request.settings.layers
    if config is None or config.sample is None or request.top_from is not None:
        return
    n_layers = run.manifest.n_layers if layers is None else len(layers)
    if config.sample < n_layers * run.manifest.d_mlp:  # else every neuron is ablated
        refuse_small_sample(config.sample, n_layers)
        if request.metrics == ("ablation",):
            raise no_ranking()


def first_position_warning(choice: ReferenceChoice, positions: Sequence[int]) -> list[str]:
    """A warning if the first position is compared with a mean, which leaves first positions out."""
    if 0 not in positions or choice.mean is None or choice.name == ZERO:
        return []
    return [f"position 0 has massive activations, and the reference ({choice.name}) is a mean without first positions"]
