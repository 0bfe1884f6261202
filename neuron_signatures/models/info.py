"""Facts about a model, from its config and from its modules built without weights."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import PreTrainedConfig as PretrainedConfig

from neuron_signatures.models.bridge import bridge_shape
from neuron_signatures.models.capture import MlpShape, decoder_layers, linear_features, mlp_shape
from neuron_signatures.models.faults import library_faults, quiet_libraries
from neuron_signatures.models.hub import resolved_commit
from neuron_signatures.models.load import LoadedModel, load_config, load_tokenizer, to_bridge
from neuron_signatures.models.norms import is_norm
from neuron_signatures.models.sites import site_width
from neuron_signatures.models.spec import Dtype, ModelSpec, Quantization
from neuron_signatures.models.tokens import context_length
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import DTYPE_BYTES, Backend
from neuron_signatures.runs.skills.banks import Site

# bitsandbytes: int8 weights, or nf4 with one float32 scale per 64 weights. Row scales are not counted.
_LINEAR_BYTES: Final[dict[Quantization, float]] = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}

# Position of the norms. pre: before attention and before the MLP. sandwich: before and after both. parallel:
# attention and MLP read the same residual stream. post: on the outputs, or after the sum.
Placement = Literal["pre", "sandwich", "parallel", "post", "unknown"]


@dataclass(frozen=True)
class ModelInfo:
    """`parameters` counts tied weights once; `linear_parameters` counts those that bitsandbytes quantises.

    `context` is None if the config states none. `sliding_window` is None if no layer has one; `sliding_layers` is
    the number of layers that have one. Soft caps are None if there is no cap.
    """

    name: str
    revision: str | None
    architecture: str
    model_type: str
    layers: int
    d_model: int
    d_mlp: int
    heads: int
    kv_heads: int
    vocab: int
    context: int | None
    sliding_window: int | None
    sliding_layers: int
    norm: str
    norm_placement: Placement
    attn_soft_cap: float | None
    final_soft_cap: float | None
    tied_embeddings: bool
    parameters: int
    linear_parameters: int
    checkpoint_dtype: str

    @property
    def neurons(self) -> int:
        return self.layers * self.d_mlp


def model_info(
    spec: ModelSpec, config: PretrainedConfig | None = None, *, backend: Backend = "transformers"
) -> ModelInfo:
    """Facts about the model of `spec`, from its config alone (loaded if None).

    Raises what `load_config` raises, and `UsageError` for an architecture whose neurons the backend cannot capture.
    """
    config = load_config(spec) if config is None else config
    hf = _without_weights(spec, config)
    text = hf.config.get_text_config()
    shape, layer = _shape(spec, config, hf, backend)
    sliding, sliding_layers = _sliding_window(text, shape.n_layers)
    heads = text.num_attention_heads
    return ModelInfo(
        name=spec.name,
        revision=resolved_commit(spec),
        architecture=type(hf).__name__,
        model_type=config.model_type,
        layers=shape.n_layers,
        d_model=text.hidden_size,
        d_mlp=shape.d_mlp,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        vocab=hf.get_input_embeddings().weight.shape[0],
        context=context_length(config),
        sliding_window=sliding,
        sliding_layers=sliding_layers,
        norm=_norm_kind(layer) if layer is not None else "unknown",
        norm_placement=_norm_placement(layer, text) if layer is not None else "unknown",
        attn_soft_cap=getattr(text, "attn_logit_softcapping", None),
        final_soft_cap=getattr(text, "final_logit_softcapping", None),
        tied_embeddings=hf.get_output_embeddings().weight is hf.get_input_embeddings().weight,
        parameters=sum(p.numel() for p in hf.parameters()),
        linear_parameters=_linear_parameters(hf),
        checkpoint_dtype=_dtype_name(config),
    )


def site_widths(spec: ModelSpec, sites: Collection[Site]) -> dict[Site, int]:
    """The widths of these sites, from the model's config alone. Raises `UsageError` as `sites.site_width`."""
    hf = _without_weights(spec, load_config(spec))
    return {site: site_width(hf, site) for site in sites}


def weights_bytes(info: ModelInfo, dtype: Dtype, quantization: Quantization = "none") -> int:
    """Bytes of the weights alone: exact without quantisation, within a few per cent with it."""
    if quantization == "none":
        return info.parameters * DTYPE_BYTES[dtype]
    rest = info.parameters - info.linear_parameters
    return int(info.linear_parameters * _LINEAR_BYTES[quantization]) + rest * DTYPE_BYTES[dtype]


def _without_weights(spec: ModelSpec, config: PretrainedConfig) -> PreTrainedModel:
    with library_faults(spec), quiet_libraries(), torch.device("meta"):
        hf: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=spec.trust_remote_code)
    return hf


def _shape(
    spec: ModelSpec, config: PretrainedConfig, hf: PreTrainedModel, backend: Backend
) -> tuple[MlpShape, nn.Module | None]:
    """The shape and the first layer. The layer is None for models that only the bridge knows."""
    try:
        return mlp_shape(hf), decoder_layers(hf)[0]
    except UsageError:
        if backend == "transformers":
            raise
    # another model, because the bridge takes it over
    model = LoadedModel(_without_weights(spec, config), load_tokenizer(spec), spec, torch.device("meta"))
    return bridge_shape(to_bridge(model)), None


def _linear_parameters(hf: PreTrainedModel) -> int:
    head = hf.get_output_embeddings()
    shapes = (linear_features(m) for m in hf.modules() if m is not head)
    return sum(math.prod(shape) for shape in shapes if shape is not None)


def _sliding_window(text: PretrainedConfig, n_layers: int) -> tuple[int | None, int]:
    window = getattr(text, "sliding_window", None)
    if window is None or getattr(text, "use_sliding_window", True) is False:
        return None, 0
    types: list[str] | None = getattr(text, "layer_types", None)
    count = n_layers if types is None else types.count("sliding_attention")
    return (int(window), count) if count else (None, 0)


def _norm_kind(layer: nn.Module) -> str:
    norms = filter(is_norm, layer.children())
    kinds = sorted({"RMSNorm" if "rms" in type(m).__name__.lower() else "LayerNorm" for m in norms})
    return "+".join(kinds) or "none"


def _norm_placement(layer: nn.Module, text: Any) -> Placement:
    names = {name for name, m in layer.named_children() if is_norm(m)}
    if getattr(text, "do_layer_norm_before", True) is False:
        return "post"
    if len(names) == 1 or getattr(text, "use_parallel_residual", False) or getattr(text, "parallel_attn", False):
        return "parallel"
    if {"input_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"} <= names:
        return "sandwich"
    if "post_feedforward_layernorm" in names and "input_layernorm" not in names:
        return "post"
    pairs = (
        {"input_layernorm", "post_attention_layernorm"},
        {"ln_1", "ln_2"},
        {"self_attn_layer_norm", "final_layer_norm"},
    )
    return "pre" if any(pair == names for pair in pairs) else "unknown"


def _dtype_name(config: PretrainedConfig) -> str:
    dtype = str(getattr(config, "dtype", None) or config.get_text_config().dtype or "unknown")
    short = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return short.get(dtype.removeprefix("torch."), dtype)
