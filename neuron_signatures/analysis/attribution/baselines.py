"""Baselines, the values that ablated neurons are set to: zero, the run's mean, or the value in another prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.checked_prompt import recompute
from neuron_signatures.analysis.tokens.positions import counted_prompts
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.run import Run

PROMPT_PREFIX = "prompt:"


def check_baseline_name(name: str) -> str:
    """`zero`, `mean` or `prompt:ID`; raises `UsageError` for anything else."""
    if name in ("zero", "mean") or (name.startswith(PROMPT_PREFIX) and len(name) > len(PROMPT_PREFIX)):
        return name
    raise UsageError(f"{name!r} is none of zero, mean, prompt:ID", where="baseline")


def baseline_labels(run: Run, names: Iterable[str]) -> dict[str, str]:
    """Each baseline as part of a file name, where a prompt has its id even if it is given by index.

    Raises `UsageError` for an unknown baseline or prompt.
    """
    return {
        name: f"prompt-{safe_id(run.prompt(name.removeprefix(PROMPT_PREFIX)).probe_id)}" if ":" in name else name
        for name in map(check_baseline_name, names)
    }


class Baselines:
    """The baselines of a prompt of `run` at some positions, each computed once (the mean reads the whole run)."""

    def __init__(self, run: Run, model: LoadedModel, prompt: PromptRecord, positions: Sequence[int]) -> None:
        self._run, self._model, self._prompt, self._positions = run, model, prompt, positions
        self._values: dict[str, Float[Tensor, "layer pos neuron"]] = {}

    def values(self, name: str) -> Float[Tensor, "layer pos neuron"]:
        """The baseline of every neuron, float32.

        - zero;
        - mean: over all tokens of all prompts of the run except the BOS, from the stored activations; the same at
          every position. NaN in layers that the run does not store;
        - prompt:ID: recomputed in that prompt, at the positions with the same distance from the end of the prompt.
          Raises `UsageError` if that prompt is too short.
        """
        if name not in self._values:
            self._values[name] = self._compute(name)
        return self._values[name]

    def _compute(self, name: str) -> Float[Tensor, "layer pos neuron"]:
        size = (self._run.manifest.n_layers, len(self._positions), self._run.manifest.d_mlp)
        if name == "zero":
            return torch.zeros(1, 1, 1).expand(size)
        if name == "mean":
            return run_mean(self._run)[:, None].expand(size)
        source = self._run.prompt(name.removeprefix(PROMPT_PREFIX))
        shift = source.seq_len - self._prompt.seq_len
        aligned = [p + shift for p in self._positions]
        if min(aligned) < 0:
            what = f"has {source.seq_len} tokens: none is as far from its end as position {min(self._positions)}"
            raise UsageError(what, where=f"prompt {source.probe_id}", next_step="Use a prompt that is as long")
        return recompute(self._model, source.token_ids)[:, aligned]


def run_mean(run: Run) -> Float[Tensor, "layer neuron"]:
    """Mean stored activation over all tokens except the BOS, finite values only; NaN in layers that are not stored."""
    total = np.zeros((len(run.layers), run.manifest.d_mlp))
    count = np.zeros_like(total)
    for counted in counted_prompts(run, first_pos=0, include_bos=False).prompts:
        acts = run.acts(counted.prompt)[:, counted.start :]
        finite = np.isfinite(acts)
        total += np.where(finite, acts, 0).sum(1, dtype=np.float64)
        count += finite.sum(1)
    mean = np.full((run.manifest.n_layers, run.manifest.d_mlp), np.nan, dtype=np.float32)
    mean[run.layers] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return torch.from_numpy(mean)


def refuse_undefined(values: Float[Tensor, "..."], *, where: str, next_step: str) -> None:
    """Raise `UsageError` if a baseline is not finite, such as the mean in layers that the run does not store."""
    if not bool(torch.isfinite(values).all()):
        raise UsageError("the baseline is not finite for every neuron", where=where, next_step=next_step)
