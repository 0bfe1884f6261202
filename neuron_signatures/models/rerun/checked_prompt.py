"""Loads the model that made a run, and checks that it is the same by recomputing the activations of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import MlpCapture, MlpShape, mlp_shape
from neuron_signatures.models.identity import ModelIdentity, model_identity
from neuron_signatures.models.load import LoadedModel, load_config, load_model, load_tokenizer
from neuron_signatures.models.rerun.loading import announced
from neuron_signatures.models.spec import ModelSpec, Quantization
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import UNRECORDED, Dtype, Manifest, PromptRecord, join_some
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity

log = logging.getLogger(__name__)

# Largest relative difference of a layer's activations between two forward passes with the same weights, in this dtype
# but with other kernels, batches and devices. With other weights it is about 1.
_COMPUTE_NOISE: Final[dict[Dtype, float]] = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}
# Half a unit in the last place, relative to the value.
_ROUNDING: Final[dict[Dtype, float]] = {"fp32": 0.0, "fp16": 2**-11, "bf16": 2**-8}


@dataclass(frozen=True)
class ModelOverrides:
    """How to load the model; None means as in the run's manifest.

    `name` is for a model that has moved (its weights must be the same). Remote code runs only if it is allowed here,
    whatever the manifest says.
    """

    name: str | None = None
    dtype: Dtype | None = None
    device: str = "auto"
    device_map: str | None = None
    trust_remote_code: bool = False
    deterministic: bool = False

    @classmethod
    def of(cls, spec: ModelSpec) -> ModelOverrides:
        """Exactly the model of `spec`."""
        return cls(spec.name, spec.dtype, spec.device, spec.device_map, spec.trust_remote_code, spec.deterministic)


class Agreement(NamedTuple):
    """Largest error of the recomputed activations over the stored `layers`: ‖recomputed - stored‖ / ‖stored‖, over the
    finite stored values. `tolerance` is the largest accepted error: rounding to the save dtype plus the noise of
    forward passes in the dtypes of the dump and of this analysis."""

    layers: tuple[int, ...]
    worst: float
    tolerance: float


@dataclass(frozen=True)
class CheckedPrompt:
    """A prompt of a run with the model of that run, which has been checked to be the same.

    `acts` are recomputed in the model's current dtype, for all layers of the model, and converted to float32.
    """

    run: dict[str, Any]
    """Its `run_identity`."""
    prompt: PromptRecord
    model: LoadedModel
    acts: Float[Tensor, "layer pos neuron"]
    agreement: Agreement
    warnings: tuple[str, ...]


def check_prompt(
    run: Run, prompt: str | int, overrides: ModelOverrides, *, dtype_reason: str | None = None
) -> CheckedPrompt:
    """Load the model of `run`, and check that it is the one that made the run.

    Raises `BadRunError` if revision, weights, quantisation, architecture or tokenizer differ from the manifest
    (checked before any weights are loaded), or if the recomputed activations of the prompt do not agree with the
    stored ones. Properties that the manifest does not record (format 1) give a warning; only the activations are
    checked then. `dtype_reason` says why the precision in `overrides` is another than that of the run, if not because
    the user chose it.
    """
    record = run.prompt(prompt)
    model, warnings = load_run_model(run, overrides, dtype_reason=dtype_reason)
    return check_with_model(run, record, model, warnings)


def check_with_model(
    run: Run, record: PromptRecord, model: LoadedModel, warnings: tuple[str, ...] = ()
) -> CheckedPrompt:
    """A prompt with a model of `load_run_model`, checked by recomputing the prompt's activations.

    Raises `BadRunError` if they do not agree with the stored ones.
    """
    _check_token_ids(run.path, record, model)
    acts = recompute(model, record.token_ids)
    _check_shape(run, MlpShape(acts.shape[0], acts.shape[2]))
    agreement = check_agreement(run, record, acts, model.spec.dtype)
    return CheckedPrompt(run_identity(run), record, model, acts, agreement, warnings)


def check_model(run: Run, overrides: ModelOverrides, *, dtype_reason: str | None = None) -> LoadedModel:
    """The model of `run`, checked with its shortest prompt, or by its identity and shape in a run without prompts.

    Raises as `check_prompt`.
    """
    if run.prompts:
        shortest = min(range(len(run.prompts)), key=lambda i: run.prompts[i].seq_len)
        return check_prompt(run, shortest, overrides, dtype_reason=dtype_reason).model
    model, _ = load_run_model(run, overrides, dtype_reason=dtype_reason)
    _check_shape(run, mlp_shape(model.hf))
    return model


def load_run_model(
    run: Run, overrides: ModelOverrides, *, dtype_reason: str | None = None
) -> tuple[LoadedModel, tuple[str, ...]]:
    """The model that the manifest names, and warnings. Raises `BadRunError` if it is another one."""
    spec = dump_spec(run.manifest, overrides)
    config, tokenizer = load_config(spec), load_tokenizer(spec)
    identity = model_identity(spec, config, tokenizer)
    refuse_another_model(run, identity)
    warnings = unchecked(run.manifest, identity)
    for warning in warnings:
        log.warning("%s", warning)
    with announced(spec, config, run_dtype=run.manifest.model_dtype, dtype_reason=dtype_reason):
        return load_model(spec, quiet=True), warnings


def dump_spec(manifest: Manifest, overrides: ModelOverrides) -> ModelSpec:
    """The model to load for this run. Weights that were published in quantised form need no flag."""
    known: dict[str, Quantization] = {"8bit": "8bit", "4bit": "4bit"}
    return ModelSpec(
        name=overrides.name or manifest.model_name,
        revision=manifest.model_revision,
        dtype=overrides.dtype or manifest.model_dtype,
        device=overrides.device,
        quantization=known.get(manifest.quantization, "none"),
        device_map=overrides.device_map,
        trust_remote_code=overrides.trust_remote_code,
        deterministic=overrides.deterministic,
    )


def refuse_another_model(run: Run, identity: ModelIdentity) -> None:
    """Raise `BadRunError` if the manifest shows that the run was made by another model."""
    if differences := identity_differences(run.manifest, identity):
        raise BadRunError(
            f"the model is not the one of the dump: {join_some(differences)}",
            where=str(run.path),
            next_step="Load the dump's model (--model_name for its place now), or dump again",
        )


def identity_differences(manifest: Manifest, identity: ModelIdentity) -> list[str]:
    """How the model differs from what the manifest records, one sentence each; the dtype may differ."""
    now = {
        "model_revision": identity.revision,
        "weights_fingerprint": identity.weights_fingerprint,
        "quantization": identity.quantization,
        "architecture": identity.architecture,
        "tokenizer_sha256": identity.tokenizer_sha256,
    }
    return [
        f"{name} is {value}, the run says {then}"
        for name, value in now.items()
        if (then := getattr(manifest, name)) not in (None, UNRECORDED) and value is not None and value != then
    ]


def unchecked(manifest: Manifest, identity: ModelIdentity) -> tuple[str, ...]:
    """Warnings for properties that cannot be compared because the run or the model does not record them."""
    warnings = []
    same_kind = (manifest.model_revision and identity.revision) or (
        manifest.weights_fingerprint and identity.weights_fingerprint
    )
    if not same_kind:
        warnings.append(
            "the run and the model have no revision or fingerprint in common: only activations are compared"
        )
    if manifest.tokenizer_sha256 is None:
        warnings.append("the run does not record its tokenizer: tokens are taken from the run")
    if manifest.quantization == UNRECORDED:
        warnings.append("the run does not record its quantisation: the model is loaded without")
    return tuple(warnings)


def recompute(model: LoadedModel, token_ids: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
    """Activations of a prompt in all layers, float32 on the CPU.

    Raises `EnvironmentProblem` if memory runs out.
    """
    work = work_on(model.hf, "the forward pass that recomputes the activations", token_ids)
    with memory_faults(work), MlpCapture(model.hf) as capture:
        acts = torch.empty(capture.shape.n_layers, len(token_ids), capture.shape.d_mlp)

        def keep(layer: int, found: Tensor) -> None:
            acts[layer] = found[0]

        capture.run(torch.tensor([list(token_ids)], device=model.device), sink=keep)
    return acts


def check_agreement(run: Run, prompt: PromptRecord, acts: Float[Tensor, "layer pos neuron"], dtype: Dtype) -> Agreement:
    """Compare recomputed activations (in `dtype`) with the stored ones; raises `BadRunError` if they disagree."""
    tolerance = accepted_error(run.manifest, dtype)
    errors = []
    for layer in run.layers:
        stored = torch.from_numpy(run.acts(prompt, layer=layer))
        finite = torch.isfinite(stored)
        difference = (acts[layer] - stored)[finite].norm()
        errors.append(float(difference / stored[finite].norm().clamp_min(torch.finfo(torch.float32).tiny)))
    worst = max(range(len(errors)), key=lambda i: errors[i])
    if not errors[worst] <= tolerance:
        raise BadRunError(
            f"recomputed activations of prompt {prompt.probe_id} differ from the stored ones by {errors[worst]:.2g} "
            f"in layer {run.layers[worst]} (at most {tolerance:.2g} is rounding)",
            where=str(run.path),
            next_step="The run was made by another model or another text; dump again",
        )
    return Agreement(tuple(run.layers), errors[worst], tolerance)


def accepted_error(manifest: Manifest, dtype: Dtype) -> float:
    """The largest relative error that recomputed activations (in `dtype`) may have, see `Agreement`."""
    noise = max(_COMPUTE_NOISE[manifest.model_dtype], _COMPUTE_NOISE[dtype])
    return _ROUNDING[manifest.save_dtype] + noise


def _check_shape(run: Run, have: MlpShape) -> None:
    want = MlpShape(run.manifest.n_layers, run.manifest.d_mlp)
    if want != have:
        what = f"the model has {have[0]} layers of {have[1]} neurons, the run has {want[0]} of {want[1]}"
        raise BadRunError(what, where=str(run.path), next_step="Load the dump's model, or dump again")


def _check_token_ids(path: Path, prompt: PromptRecord, model: LoadedModel) -> None:
    vocab = model.hf.get_input_embeddings().weight.shape[0]
    if max(prompt.token_ids) >= vocab:
        what = f"prompt {prompt.probe_id} has token id {max(prompt.token_ids)}, the model's are in 0..{vocab - 1}"
        raise BadRunError(what, where=str(path), next_step="Load the dump's model, or dump again")
