"""What an ablated neuron is set to: zero, its mean over the run, or its value in another prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.model_check import AnalysisContext, recompute
from neuron_signatures.analysis.tokens.positions import counted_prompts
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.run import Run

PROMPT_PREFIX = "prompt:"


def check_baseline_name(name: str) -> str:
    """`zero`, `mean` or `prompt:ID`; raises `UsageError` for anything else."""
    if name in ("zero", "mean") or (name.startswith(PROMPT_PREFIX) and len(name) > len(PROMPT_PREFIX)):
        return name
    raise UsageError(f"{name!r} is none of zero, mean, prompt:ID", where="baseline")


def baseline_label(run: Run, name: str) -> str:
    """The baseline as part of a file name: one for each prompt, however it was named. Raises `UsageError`."""
    check_baseline_name(name)
    if not name.startswith(PROMPT_PREFIX):
        return name
    return f"prompt-{safe_id(run.prompt(name.removeprefix(PROMPT_PREFIX)).probe_id)}"


class Baselines:
    """The baselines of one prompt at some positions, each computed once: the mean reads the whole run."""

    def __init__(self, context: AnalysisContext, positions: Sequence[int]) -> None:
        self._context, self.positions = context, tuple(positions)
        self._values: dict[str, Float[Tensor, "layer pos neuron"]] = {}

    def values(self, name: str) -> Float[Tensor, "layer pos neuron"]:
        """As `baseline_values`."""
        if name not in self._values:
            self._values[name] = baseline_values(self._context, name, self.positions)
        return self._values[name]


def baseline_values(context: AnalysisContext, name: str, positions: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
    """The baseline of every neuron at `positions` of the context's prompt, float32.

    - zero;
    - mean: over all tokens of all prompts of the run, each token counting the same and the BOS not at all, from the
      stored activations; the same at every position. NaN in layers that the run does not store;
    - prompt:ID: recomputed in that prompt, at the position with the same distance from the prompt's end (the same
      position where both have one length). Raises `UsageError` where that prompt is too short.
    """
    check_baseline_name(name)
    n_layers, _, d_mlp = context.acts.shape
    size = (n_layers, len(positions), d_mlp)
    if name == "zero":
        return torch.zeros(1, 1, 1).expand(size)
    if name == "mean":
        return run_mean(context.run)[:, None].expand(size)
    return source_acts(context, name.removeprefix(PROMPT_PREFIX), positions)


def source_acts(context: AnalysisContext, prompt: str, positions: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
    """Activations of another prompt of the run, aligned with `positions` of the context's prompt at the end."""
    record = context.run.prompt(prompt)
    shift = record.seq_len - context.prompt.seq_len
    wanted = [p + shift for p in positions]
    if min(wanted) < 0:
        what = f"has {record.seq_len} tokens: none lies as far from its end as position {min(positions)}"
        raise UsageError(what, where=f"prompt {record.probe_id}", next_step="Use a prompt that is as long")
    return recompute(context.model, record.token_ids)[:, wanted]


def run_mean(run: Run) -> Float[Tensor, "layer neuron"]:
    """Mean stored activation over all tokens but the BOS, finite values only; NaN in layers that are not stored."""
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
    """Raise `UsageError` if a baseline is not finite, as the mean is not in layers that the run does not store."""
    if not bool(torch.isfinite(values).all()):
        raise UsageError("the baseline is not finite for every neuron", where=where, next_step=next_step)
