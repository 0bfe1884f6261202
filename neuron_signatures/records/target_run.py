"""The run that records are written into: an existing one, or a new one that holds records and no prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.fit import fit_to_memory
from neuron_signatures.models.identity import ModelIdentity, model_identity
from neuron_signatures.models.info import ModelInfo, model_info
from neuron_signatures.models.load import LoadedModel, find_device, load_config, load_model, load_tokenizer
from neuron_signatures.models.provenance import provenance
from neuron_signatures.models.rerun.checked_prompt import (
    ModelOverrides,
    check_model,
    dump_spec,
    refuse_another_model,
)
from neuron_signatures.models.spec import BosRequest, ModelSpec
from neuron_signatures.models.tokens import adds_bos, bos_policy, wants_bos
from neuron_signatures.records.request import DirectionsRequest
from neuron_signatures.records.units import RunUnits, copy_units, units_of_file, units_of_run
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import QUANTIZATION_REASON, UNRECORDED, Manifest
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.banks import SITE_HOOKS
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.writer import check_folder

STAGE = "poc4_extract_records"


@dataclass(frozen=True)
class ModelPlan:
    """A model before its weights are loaded, and the units that are recorded.

    `prepend_bos` says whether windows begin with its BOS.
    """

    spec: ModelSpec
    tokenizer: TokenizerBase
    info: ModelInfo
    identity: ModelIdentity
    prepend_bos: bool
    units: RunUnits | None = None
    """None if the units are neurons."""
    quantization_reason: str = ""
    """Why the model is quantised, if that was chosen because of the free memory."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have units."""
        return tuple(range(self.info.layers)) if self.units is None else self.units.chosen.layers

    @property
    def n_units(self) -> int:
        """Neurons or directions per layer."""
        return self.info.d_mlp if self.units is None else self.units.chosen.n_units

    @property
    def bos_token_id(self) -> int | None:
        """The BOS in front of every window; None without one."""
        return self.tokenizer.bos_token_id if self.prepend_bos else None


def plan_for_run(run: Run, overrides: ModelOverrides, bos: BosRequest | None) -> ModelPlan:
    """The model of a run, by its manifest; BOS as in the run unless `bos` says otherwise.

    Raises `BadRunError` if the model is another than the run's.
    """
    spec = dump_spec(run.manifest, overrides)
    plan = _plan(spec, bos)
    refuse_another_model(run, plan.identity)
    plan = replace(plan, units=units_of_run(run))
    if bos is not None:
        return plan
    has_bos = plan.tokenizer.bos_token_id is not None
    return replace(plan, prepend_bos=run.manifest.prepend_bos and has_bos)


def plan_for_model(spec: ModelSpec, bos: BosRequest | None, directions: DirectionsRequest | None = None) -> ModelPlan:
    """A model for a new run; BOS as the tokenizer itself does unless `bos` says otherwise.

    Its quantisation is chosen if `spec` leaves the choice. Raises `UsageError` if the directions do not fit the model.
    """
    plan = _plan(spec, bos or "tokenizer")
    return plan if directions is None else replace(plan, units=units_of_file(directions, spec, plan.info.layers))


def _plan(spec: ModelSpec, bos: BosRequest | None) -> ModelPlan:
    config, tokenizer = load_config(spec), load_tokenizer(spec)
    wants = bos is not None and wants_bos(tokenizer, bos) and tokenizer.bos_token_id is not None
    info = model_info(spec, config)
    spec, reason, _ = fit_to_memory(spec, config, info)
    identity = model_identity(spec, config, tokenizer)
    return ModelPlan(spec, tokenizer, info, identity, wants, quantization_reason=reason)


def load_planned(run: Run, plan: ModelPlan) -> LoadedModel:
    """Load the weights and check that they are the run's."""
    return check_model(run, ModelOverrides.of(plan.spec)) if run.prompts else load_model(plan.spec)


def create_run(
    out_dir: Path, plan: ModelPlan, flags_given: tuple[str, ...], *, shared: bool = False, stage: str = STAGE
) -> Run | None:
    """A new run without prompts, made by `stage`: its manifest says which model its results are of.

    If the run is `shared` by processes that may create it at the same time, None means that another one was faster.
    Raises `UsageError` if the folder holds anything already.
    """
    try:
        check_folder(out_dir, "new")
    except UsageError:
        if not (shared and Run.is_complete(out_dir)):
            raise
    with explain_os_errors(out_dir, next_step="Choose another --out_dir or fix its permissions"):
        out_dir.mkdir(parents=True, exist_ok=True)
    with run_lock(out_dir, wait=shared):
        if shared and Run.is_complete(out_dir):
            return None
        check_folder(out_dir, "new")  # again: another writer may have been faster
        manifest = _manifest(plan, flags_given, stage)
        if plan.units is not None:
            kept, record = copy_units(plan.units, out_dir)
            manifest = manifest.model_copy(update={"units": kept, "files": [record]})
        write_manifest(out_dir, manifest)
    return Run.open(out_dir)


def _manifest(plan: ModelPlan, flags_given: tuple[str, ...], stage: str) -> Manifest:
    device = find_device(plan.spec.device)
    reason = {QUANTIZATION_REASON: plan.quantization_reason} if plan.quantization_reason else {}
    return Manifest(
        **provenance(device, UNRECORDED, flags_given),
        format_version=2,
        stage=stage,
        n_prompts=0,
        n_tokens=0,
        n_layers=plan.info.layers,
        layers=list(plan.layers),
        d_mlp=plan.n_units,
        hook_name=SITE_HOOKS["neuron" if plan.units is None else plan.units.chosen.site],
        model_name=encodable(plan.spec.name),
        model_revision=plan.identity.revision,
        weights_fingerprint=plan.identity.weights_fingerprint,
        architecture=plan.identity.architecture,
        tokenizer_sha256=plan.identity.tokenizer_sha256,
        quantization=plan.identity.quantization,
        trust_remote_code=plan.spec.trust_remote_code,
        run_device=device.type,
        model_dtype=plan.spec.dtype,
        save_dtype=plan.spec.dtype,
        prepend_bos=plan.prepend_bos,
        bos_token_id=plan.tokenizer.bos_token_id,
        bos_policy=bos_policy(plan.tokenizer, prepend_bos=plan.prepend_bos),
        tokenizer_adds_bos=adds_bos(plan.tokenizer),
        seed=None,
        activations_file=None,
        files=[],
        flags_resolved={"model_revision": plan.spec.revision, "quantization": plan.spec.quantization, **reason},
        wall_seconds=0.0,
        failed_prompts=[],
        prompts=[],
    )
