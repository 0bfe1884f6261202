"""From a `ModelSpec` to a config, a tokenizer, a model; the only importer of transformer_lens.

Models are plain transformers models with the weights as published: nothing is folded, centred or fused.
transformer_lens is imported by `to_bridge` alone, because that import takes seconds and a dump needs none of it.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, modeling_utils
from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.determinism import make_deterministic
from neuron_signatures.models.faults import condense, library_faults, quiet_libraries
from neuron_signatures.models.hub import Source, find_source
from neuron_signatures.models.memory import freed_memory_returned
from neuron_signatures.models.spec import DEVICE_MAPS, ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

# Where Gemma-3 checkpoints with a vision tower keep the text model, as published and as saved again.
_TEXT_KEYS: Final = {"^language_model.model": "model", "^model.language_model": "model"}

TORCH_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer, and what was really chosen.

    `device` is where input ids go (the embedding's device when the model is spread over several);
    `attn_implementation` is what the model runs now: `sdpa` where transformers allows it, `eager` for
    Gemma-2, whose soft cap SDPA cannot compute.
    """

    hf: PreTrainedModel
    tokenizer: TokenizerBase
    spec: ModelSpec
    device: torch.device

    @property
    def config(self) -> PretrainedConfig:
        return self.hf.config

    @property
    def attn_implementation(self) -> str:
        return str(self.hf.config._attn_implementation)


def load_config(spec: ModelSpec) -> PretrainedConfig:
    """The config as published; of a Gemma-3 checkpoint with a vision tower, its text model's part.

    Raises `EnvironmentProblem` when it cannot be had, `UsageError` when it needs remote code or is no causal
    language model.
    """
    source = find_source(spec)
    with library_faults(spec), quiet_libraries():
        config = AutoConfig.from_pretrained(source.path, **_common(spec, source))
    if config.model_type != "gemma3":
        return config
    text = config.text_config
    text.architectures = ["Gemma3ForCausalLM"]
    text.dtype = text.dtype or config.dtype
    return text


def load_tokenizer(spec: ModelSpec) -> TokenizerBase:
    """The model's tokenizer; whatever the checkpoint says, it pads on the right."""
    source = find_source(spec)
    with library_faults(spec), quiet_libraries():
        tokenizer = AutoTokenizer.from_pretrained(source.path, **_common(spec, source))
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(spec: ModelSpec, *, quiet: bool = False) -> LoadedModel:
    """The model with every weight from the checkpoint, in eval mode, without gradients.

    Download bars go to stderr when that is a terminal and not `quiet`. Raises as `load_config` does, and
    `EnvironmentProblem` when the device is absent or a weight is missing from the checkpoint. With
    `spec.deterministic`, torch is deterministic from then on.
    """
    if spec.deterministic:
        make_deterministic()
    device = find_device(spec.device)
    if spec.device_map not in (None, *DEVICE_MAPS):
        raise UsageError(f"not one of {', '.join(DEVICE_MAPS)}", where=f"--device_map {spec.device_map}")
    _check_quantization(spec, device)
    config = load_config(spec)
    tokenizer = load_tokenizer(spec)
    source = find_source(spec)
    converted, on_cpu = TORCH_DTYPES[spec.dtype] != config.dtype, device.type == "cpu"
    with (
        library_faults(spec),
        quiet_libraries(downloads=not quiet and sys.stderr.isatty()),
        _read_tensor_by_tensor() if converted else contextlib.nullcontext(),
        freed_memory_returned() if on_cpu and spec.quantization != "none" else contextlib.nullcontext(),
    ):
        hf, report = AutoModelForCausalLM.from_pretrained(
            source.path,
            config=config,
            key_mapping=_TEXT_KEYS if config.model_type == "gemma3_text" else None,
            output_loading_info=True,
            **_placement(spec, device),
            **_common(spec, source),
        )
    refuse_invented_weights(spec, report)
    if source.unreachable:
        log.warning("model %s: the Hub does not answer; loaded from the local cache", spec.name)
    hf.eval().requires_grad_(False)
    return LoadedModel(hf, tokenizer, spec, hf.get_input_embeddings().weight.device)


def to_bridge(model: LoadedModel) -> TransformerBridge:
    """A transformer-lens view of `model.hf`, with raw weights and no compatibility mode.

    The bridge takes the model over in place: its modules are wrapped and its attention becomes eager, which
    `model.attn_implementation` then says too. Do not use `model` for plain forwards afterwards. The tokenizer
    is copied, because transformer-lens gives it tokens that it does not have. Raises `UsageError` for models that
    transformer-lens cannot adapt.
    """
    if getattr(model.config, "vision_config", None) is not None:
        raise UsageError("TransformerBridge is used for text-only models", where=f"model {model.spec.name}")
    # transformer-lens imports bitsandbytes, if it is there, which then warns that an optional package is missing
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformer_lens.model_bridge import TransformerBridge

    # transformer-lens 3.9 computes eager attention itself, but on OPT leaves it to the model.
    model.hf.set_attn_implementation("eager")
    try:
        with quiet_libraries():
            bridge = TransformerBridge.boot_transformers(
                model.spec.name,
                hf_model=model.hf,
                tokenizer=copy.deepcopy(model.tokenizer),
                device=str(model.device),
                dtype=model.hf.dtype,
                trust_remote_code=model.spec.trust_remote_code,
            )
    except (ValueError, NotImplementedError) as e:
        raise UsageError(
            f"TransformerLens cannot adapt {type(model.hf).__name__}: {condense(e)}",
            where=f"model {model.spec.name}",
            next_step="Use --backend transformers",
        ) from e
    # The weights that the bridge splits or invents (a bias of zeros) come with gradients.
    bridge.requires_grad_(False)
    return bridge


def bridge_beside(model: LoadedModel) -> TransformerBridge:
    """A bridge on a copy of `model.hf` that shares its weights, so that plain forwards of `model` stay possible.

    Only modules are copied. The bridge's attention is eager, that of `model` stays as it is.
    """
    shared = [*model.hf.parameters(), *model.hf.buffers()]
    twin: PreTrainedModel = copy.deepcopy(model.hf, {id(tensor): tensor for tensor in shared})
    return to_bridge(replace(model, hf=twin))


def find_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; auto takes CUDA, then MPS, then the CPU.

    Raises `EnvironmentProblem` when this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    where = f"--device {name}"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise UsageError("not a device; use auto, cuda, cuda:N, mps or cpu", where=where) from e
    if device.type not in ("cuda", "mps", "cpu"):
        raise UsageError("not supported; use auto, cuda, cuda:N, mps or cpu", where=where)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        build = "" if torch.version.cuda else f"; torch {torch.__version__} is built without CUDA"
        raise EnvironmentProblem(
            f"{torch.cuda.device_count()} CUDA devices here{build}", where=where, next_step="Use --device auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentProblem("no Apple GPU here", where=where, next_step="Use --device auto")
    return device


@contextlib.contextmanager
def _read_tensor_by_tensor() -> Iterator[None]:
    """Within the block, transformers reads safetensors files instead of mapping them into memory.

    Weights in the dtype of the file are the mapped pages themselves. Converted ones are copies, and transformers 5.23
    keeps the pages of all files mapped until the last tensor is converted: half the memory of the model again.
    """
    opened = modeling_utils.safe_open

    def read(*args: Any, **kwargs: Any) -> Any:
        return opened(*args, **{**kwargs, "backend": "pread"})

    modeling_utils.safe_open = read
    try:
        yield
    finally:
        modeling_utils.safe_open = opened


def _common(spec: ModelSpec, source: Source) -> dict[str, Any]:
    return {
        "revision": None if source.is_local else spec.revision,
        "local_files_only": source.local_files_only,
        "trust_remote_code": spec.trust_remote_code,
    }


def _placement(spec: ModelSpec, device: torch.device) -> dict[str, Any]:
    dtype = TORCH_DTYPES[spec.dtype]
    kwargs: dict[str, Any] = {"dtype": dtype, "device_map": spec.device_map or {"": device}}
    if spec.quantization != "none":
        kwargs["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=spec.quantization == "8bit",
            load_in_4bit=spec.quantization == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
        )
    return kwargs


def _check_quantization(spec: ModelSpec, device: torch.device) -> None:
    if spec.quantization == "none":
        return
    where = f"--quantization {spec.quantization}"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EnvironmentProblem(
            "bitsandbytes is not installed", where=where, next_step="Run: pip install bitsandbytes"
        )
    # it warns of every matrix product in 8bit that it computes in float16
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if device.type == "mps":
        raise EnvironmentProblem("bitsandbytes does not run on mps", where=where, next_step="Use another --device")
    # bitsandbytes 0.50 warns at every 8-bit product that activations are rounded
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def refuse_invented_weights(spec: ModelSpec, report: dict[str, Any]) -> None:
    """Raise `EnvironmentProblem` if the loading report of transformers names weights that the checkpoint lacks."""
    invented = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if invented:
        raise EnvironmentProblem(
            f"the checkpoint lacks {len(invented)} weights of the architecture, such as {invented[0]}; "
            "they would be random numbers",
            where=f"model {spec.name}",
            next_step="Check that the folder or download is complete and is a causal language model",
        )
