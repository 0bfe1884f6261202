"""Requests of `--mode steer` on tiny models, without a run."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from attribution_cases import loaded, token_ids
from tiny_models import N_LAYERS

from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.steer.request import (
    Generation,
    SteerControls,
    Steered,
    SteeredNeuron,
    SteerRequest,
)
from neuron_signatures.models.rerun.checked_prompt import Agreement, CheckedPrompt, recompute
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.tokens import ascii_token

LENGTH = 7
NEURONS = (SteeredNeuron(1, 3, 1), SteeredNeuron(1, 60, -1), SteeredNeuron(2, 5, 1))


@functools.cache
def session(name: str) -> Session:
    return Session(loaded(name), (3, 4, 5))


def checked_prompt(name: str, ids: Sequence[int]) -> CheckedPrompt:
    model = loaded(name)
    tokens = token_strings(model.tokenizer, ids)
    prompt = PromptRecord(
        probe_id="p",
        text="".join(tokens),
        token_ids=list(ids),
        tokens=tokens,
        tokens_ascii=[ascii_token(t) for t in tokens],
        seq_len=len(ids),
        activation_tensor_key="p",
        activation_tensor_shape=[N_LAYERS, len(ids), 1],
        activation_tensor_dtype="fp32",
        file="activations.safetensors",
        nonfinite=0,
        truncated_from=None,
        metadata={},
    )
    return CheckedPrompt({}, prompt, model, recompute(model, ids), Agreement((), 0.0, 0.0), ())


def request(
    name: str,
    steered: Steered,
    *,
    alphas: tuple[float, ...] = (-2.0, 0.0, 2.0),
    positions: tuple[int, ...] = (3, 6),
    foil: int | None = 9,
    generation: Generation | None = None,
    controls: SteerControls | None = None,
) -> SteerRequest:
    """Of a prompt of random tokens, and the most likely next token as the target."""
    ids = token_ids(LENGTH)
    resolved = resolve_target(loaded(name), ids, TargetRequest("top1_logit", foil_id=foil))
    return SteerRequest(
        checked_prompt(name, ids),
        session(name),
        resolved,
        positions,
        steered,
        alphas,
        generation or Generation(max_new_tokens=4),
        controls or SteerControls(n_random=12, batch=5),
    )
