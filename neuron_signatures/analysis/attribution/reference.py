"""The reference: the activations that the prompt's activations are compared with.

One command has one reference ā, for every metric and for the ablations that they are tested against. Scores by it are
(a - ā)·g, and an ablated neuron is set to ā: zero, the mean over the tokens of a run or of a corpus, or the value in
another prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.corpus_moments import RecordsSource, corpus_moments
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import UNRECORDED, PromptRecord, join_some
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity

_LARGER_RUN = "run:DIR takes the mean of a larger run"
GRAMMAR = "mean, zero, prompt:ID, run:DIR or records"
ZERO, MEAN, RECORDS, PROMPT_PREFIX, RUN_PREFIX = "zero", "mean", "records", "prompt:", "run:"

# Properties of two runs of the same model.
_SAME_MODEL = ("model_revision", "weights_fingerprint", "tokenizer_sha256", "quantization", "n_layers", "d_mlp")


class Mean(NamedTuple):
    """Mean activation of each neuron over `n_tokens` tokens; NaN in layers that a run does not store.

    The tokens are those of a run, with the identity `run`, or of the corpus of `records`; the other is None.
    `resampled` are means over prompts of the run that were drawn with replacement, as many as it has. A corpus has
    none: its records hold no means of documents.
    """

    values: Float[Tensor, "layer neuron"]
    n_tokens: int
    run: dict[str, Any] | None
    resampled: Float[Tensor, "draw layer neuron"]
    records: RecordsSource | None = None


class Resampling(NamedTuple):
    """How many means over resampled prompts are computed beside a mean, and the seed of their draws."""

    n: int
    seed: int


NO_RESAMPLING = Resampling(0, 0)


@dataclass(frozen=True)
class ReferenceChoice:
    """The reference of one command, chosen before the model is loaded.

    `name` is by what the command ranks and ablates; `centred_on` is the ā of the column `influence_centred`: the same,
    or with zero the run's mean (None if the run has too few tokens for one).
    """

    name: str
    label: str
    """The name as part of a file name."""
    centred_on: str | None
    mean: Mean | None
    """The mean that `centred_on` names."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A reference with its values at the positions of a problem, float32; `values` is None if there is no `centred_on`.

    Of a mean, `n_tokens` is the number of its tokens, `run` the identity of their run, `records` the records that they
    are from and `resampled` the means over resampled prompts, else they are None.
    """

    name: str
    centred_on: str | None
    values: Float[Tensor, "layer pos neuron"] | None
    n_tokens: int | None = None
    run: dict[str, Any] | None = None
    resampled: Float[Tensor, "draw layer pos neuron"] | None = None
    records: RecordsSource | None = None

    @property
    def is_zero(self) -> bool:
        return self.name == ZERO

    def held(self, like: Float[Tensor, "layer pos neuron"]) -> Float[Tensor, "layer pos neuron"]:
        """What ablated neurons are set to, for every layer."""
        if self.is_zero:
            return torch.zeros(1, 1, 1).expand(like.shape)
        assert self.values is not None
        return self.values

    def centred(self, found: Attribution) -> Float[Tensor, "layer pos neuron"]:
        """(a - ā)·g of a metric that has a score g per unit of activation; NaN without a `centred_on`."""
        assert found.per_act is not None
        if self.values is None:
            return torch.full_like(found.scores, torch.nan)
        centred = (found.acts - self.values[list(found.layers)]) * found.per_act
        return torch.where(found.per_act == 0, 0.0, centred)

    def identity(self) -> dict[str, Any]:
        """What tells it from other references, without its values."""
        return asdict(replace(self, values=None, resampled=None))

    def record(self) -> dict[str, Any]:
        """The fields of the stage record."""
        score = "influence" if self.is_zero else "influence_centred"
        return {
            "reference": self.name,
            "score_column": score,
            "centred_on": self.centred_on,
            "reference_tokens": self.n_tokens,
            "reference_run": self.run,
            "reference_records": self.records and asdict(self.records),
        }


def choose_reference(
    run: Run,
    requested: str | None,
    *,
    min_tokens: int,
    resampling: Resampling = NO_RESAMPLING,
    progress: ProgressOf = silent,
) -> ReferenceChoice:
    """The reference `requested`; without one the run's mean, or zero if the run has fewer tokens than `min_tokens`.

    Reads the activations of the run (or of the run in `run:DIR`) for a mean, or the records of the run. Raises
    `UsageError` for an unknown reference or prompt, for a mean over fewer than `min_tokens` tokens, for a run or
    records of another model, and for records without all layers.
    """
    if requested is None:
        n = n_counted(run)
        if n < min_tokens:
            why = f"the run has {n} tokens without first positions, fewer than {min_tokens}: too few for a mean"
            other = "records takes the mean over the run's corpus" if Records.exist(run.path) else _LARGER_RUN
            step = f"so the reference is zero; --reference {other}"
            return ReferenceChoice(ZERO, ZERO, None, None, (f"{why}, {step}",))
        requested = MEAN
    if requested.startswith(PROMPT_PREFIX):
        name = PROMPT_PREFIX + run.prompt(requested.removeprefix(PROMPT_PREFIX)).probe_id
        return ReferenceChoice(name, f"prompt-{safe_id(name.removeprefix(PROMPT_PREFIX))}", name, None)
    if requested.startswith(RUN_PREFIX) and requested != RUN_PREFIX:
        folder = Path(requested.removeprefix(RUN_PREFIX)).expanduser()
        mean = _mean_of(run, folder, min_tokens, resampling, progress)
        name = RUN_PREFIX + folder.resolve().name
        label = safe_id(f"{name.replace(':', '-')}-{_digest(mean.run)}")  # folders of one name have different labels
        return ReferenceChoice(name, label, name, mean)
    if requested == ZERO:
        own = run_mean(run, progress=progress) if n_counted(run) >= min_tokens else None
        return ReferenceChoice(ZERO, ZERO, MEAN if own else None, own)
    if requested == MEAN:
        mean = _enough(run_mean(run, resampling, progress), min_tokens, str(run.path), run)
        return ReferenceChoice(MEAN, MEAN, MEAN, mean)
    if requested == RECORDS:
        mean = _enough(records_mean(run), min_tokens, str(run.path / RECORDS))
        assert mean.records is not None
        return ReferenceChoice(RECORDS, mean.records.label, RECORDS, mean)
    raise UsageError(f"{requested!r} is none of {GRAMMAR}", where="--reference")


def reference_at(
    choice: ReferenceChoice, run: Run, model: LoadedModel, prompt: PromptRecord, positions: Sequence[int]
) -> Reference:
    """The values of the chosen reference at these positions of `prompt`.

    A mean is the same at every position. The activations of another prompt are recomputed in all layers, and taken at
    the positions with the same distance from its end; raises `UsageError` if it is too short, or `prompt` itself.
    """
    reference = Reference(choice.name, choice.centred_on, None)
    if choice.mean is not None:
        size = (run.manifest.n_layers, len(positions), run.manifest.d_mlp)
        mean = choice.mean
        values, resampled = mean.values[:, None].expand(size), mean.resampled[:, :, None].expand(-1, *size)
        return replace(
            reference,
            values=values,
            n_tokens=mean.n_tokens,
            run=mean.run,
            records=mean.records,
            resampled=resampled if len(resampled) and not reference.is_zero else None,
        )
    if not choice.name.startswith(PROMPT_PREFIX):
        return reference
    source = run.prompt(choice.name.removeprefix(PROMPT_PREFIX))
    if source.probe_id == prompt.probe_id:
        what = "the prompt cannot be its own reference: every score would be 0"
        raise UsageError(what, where=f"--reference {choice.name}", next_step="Use another prompt, mean or zero")
    aligned = [p + source.seq_len - prompt.seq_len for p in positions]
    if min(aligned) < 0:
        what = f"has {source.seq_len} tokens: none is as far from its end as position {min(positions)}"
        raise UsageError(what, where=f"prompt {source.probe_id}", next_step="Use a prompt that is as long")
    return replace(reference, values=recompute(model, source.token_ids)[:, aligned])


def run_mean(run: Run, resampling: Resampling = NO_RESAMPLING, progress: ProgressOf = silent) -> Mean:
    """Mean stored activation over all tokens but the first of each prompt, finite values only.

    First positions have activations far larger than all others, with or without a BOS (docs/method.md).
    """
    n_prompts = len(run.prompts)
    rng = np.random.default_rng(resampling.seed)
    drawn = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=resampling.n)
    times = np.vstack([np.ones((1, n_prompts), np.int64), drawn])  # how often each prompt counts in each mean
    total = np.zeros((len(times), len(run.layers), run.manifest.d_mlp))
    count = np.zeros(total.shape, np.int64)
    with progress("prompts", n_prompts) as bar:
        for prompt, of_mean in zip(run.prompts, times.T, strict=True):
            acts = run.acts(prompt)[:, 1:]
            finite = np.isfinite(acts)
            summed, n_finite = np.where(finite, acts, 0).sum(1, dtype=np.float64), finite.sum(1)
            for i in np.flatnonzero(of_mean):
                total[i] += of_mean[i] * summed
                count[i] += of_mean[i] * n_finite
            bar.advance(1)
    means = np.full((len(times), run.manifest.n_layers, run.manifest.d_mlp), np.nan, dtype=np.float32)
    means[:, run.layers] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    every, resampled = torch.from_numpy(means[0]), torch.from_numpy(means[1:])
    return Mean(every, n_counted(run), run_identity(run), resampled)


def records_mean(run: Run) -> Mean:
    """Mean activation over the corpus that the run has records of, in all layers; raises as `corpus_moments`."""
    found = corpus_moments(run, range(run.manifest.n_layers))
    values = torch.from_numpy(found.mean.astype(np.float32))
    return Mean(values, found.n_tokens, None, torch.empty(0, *values.shape), found.source)


def n_counted(run: Run) -> int:
    """Number of tokens that a mean is over: all but the first of each prompt."""
    return sum(p.seq_len - 1 for p in run.prompts)


def refuse_undefined(values: Float[Tensor, "..."], *, where: str, next_step: str) -> None:
    """Raise `UsageError` if a reference is not finite, such as the mean in layers that the run does not store."""
    if not bool(torch.isfinite(values).all()):
        raise UsageError("the reference is not finite for every neuron", where=where, next_step=next_step)


def _mean_of(run: Run, folder: Path, min_tokens: int, resampling: Resampling, progress: ProgressOf) -> Mean:
    with Run.open(folder, check="sha256") as other:
        here, there = run_identity(run), run_identity(other)
        known = [k for k in _SAME_MODEL if not {None, UNRECORDED} & {here[k], there[k]}]
        wrong = [f"{k} is {there[k]}, here {here[k]}" for k in known if here[k] != there[k]]
        if wrong:
            raise UsageError(f"is a run of another model: {join_some(wrong, 3)}", where=f"--reference run:{folder}")
        return _enough(run_mean(other, resampling, progress), min_tokens, str(folder))


def _digest(identity: dict[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def _enough(mean: Mean, min_tokens: int, where: str, run: Run | None = None) -> Mean:
    """The mean, if it is over enough tokens; the error names the records of `run` if there are any."""
    if mean.n_tokens < min_tokens:
        what = f"has {mean.n_tokens} tokens without first positions; a mean needs {min_tokens} (--min_mean_tokens)"
        others = "zero, records" if run is not None and Records.exist(run.path) else "zero"
        raise UsageError(what, where=where, next_step=f"Use --reference {others}, or run:DIR of a larger run")
    return mean
