"""Whether a model fits into the free memory, and the quantisation with which it does.

The rule, for a spec that leaves the choice (`ModelSpec.may_quantize`): the first of none, 8bit and 4bit whose
`bytes_needed` are free. The choice changes the experiment, so it is logged, and callers record `Fitting.reason`.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import replace
from typing import Final, NamedTuple

from transformers import PreTrainedConfig as PretrainedConfig

from neuron_signatures.models.identity import quantization_of
from neuron_signatures.models.info import ModelInfo, weights_bytes
from neuron_signatures.models.load import find_device
from neuron_signatures.models.memory import free_memory
from neuron_signatures.models.spec import Dtype, ModelSpec, Quantization
from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.manifest import DTYPE_BYTES

log = logging.getLogger(__name__)

CHOICES: Final[tuple[Quantization, ...]] = ("none", "8bit", "4bit")
"""In the order in which they are tried."""
DEFAULT_TOKENS: Final = 512
"""Tokens of a forward pass, where the caller does not know them."""
_USABLE: Final = 0.95
"""Share of the free memory that is counted on; the rest is for allocators and libraries."""


class Fitting(NamedTuple):
    """The model to load. `reason` says why it is quantised, empty if nothing was chosen.

    `warning` is the line to show if it does not fit in any form, else empty.
    """

    spec: ModelSpec
    reason: str = ""
    warning: str = ""


def bytes_needed(info: ModelInfo, dtype: Dtype, quantization: Quantization, work_bytes: int | None = None) -> int:
    """The weights, and the larger of what loading and a forward pass need beyond them.

    Loading holds the largest tensor twice: as it is in the checkpoint, and in `dtype`. `work_bytes` is the memory of a
    forward pass; None is that of `DEFAULT_TOKENS` tokens with the neurons of all layers. Quantised weights are
    expanded to float32 for it, one matrix at a time: two of the largest are counted. Attention scores, logits and a
    key-value cache are not counted.
    """
    itemsize = DTYPE_BYTES[dtype]
    if work_bytes is None:
        work_bytes = DEFAULT_TOKENS * token_bytes(info.layers, info.d_mlp, info.d_model, dtype, itemsize)
    if quantization != "none":
        work_bytes += 2 * 4 * info.d_mlp * info.d_model
    stored = next((n for name, n in DTYPE_BYTES.items() if name == info.checkpoint_dtype), 4)
    loading = max(info.vocab, info.d_mlp) * info.d_model * (stored + itemsize)
    return weights_bytes(info, dtype, quantization) + max(loading, work_bytes)


def token_bytes(n_layers: int, d_mlp: int, d_model: int, save_dtype: Dtype, itemsize: int) -> int:
    """Device memory per token: activations of `n_layers`, and a generous working set of one layer, with values of
    `itemsize` bytes."""
    return n_layers * d_mlp * DTYPE_BYTES[save_dtype] + (4 * d_mlp + 16 * d_model) * itemsize


def first_that_fits(
    info: ModelInfo, dtype: Dtype, free: int | None, work_bytes: int | None = None
) -> Quantization | None:
    """The first of `CHOICES` for which `free` bytes suffice, none if they are unknown; None if none of them fits."""
    if free is None:
        return "none"
    return next((q for q in CHOICES if bytes_needed(info, dtype, q, work_bytes) <= _USABLE * free), None)


def fitting_spec(
    spec: ModelSpec, config: PretrainedConfig, info: ModelInfo, *, free: int | None, work_bytes: int | None = None
) -> Fitting:
    """`spec` with a quantisation with which it fits into `free` bytes (None: unknown), if it leaves the choice.

    Checkpoints that are quantised already stay as they are. A model that does not fit in any form stays unquantised,
    with a warning. Raises `EnvironmentProblem` if it fits only quantised, and bitsandbytes is not installed.
    """
    if not spec.may_quantize:
        return Fitting(spec)
    spec = replace(spec, may_quantize=False)
    if spec.quantization != "none" or quantization_of(spec, config) != "none":
        return Fitting(spec)
    chosen = first_that_fits(info, spec.dtype, free, work_bytes)
    if chosen == "none":
        return Fitting(spec)
    assert free is not None  # unknown memory is none
    problem = _problem(spec, info, free, work_bytes)
    if chosen is None:
        least = human_bytes(bytes_needed(info, spec.dtype, "4bit", work_bytes))
        return Fitting(spec, warning=f"{problem}, and 4bit needs {least}: {', or '.join(_ways_out(spec))}")
    if importlib.util.find_spec("bitsandbytes") is None:
        ways = ["Run: pip install bitsandbytes", *_ways_out(spec), "--quantization none tries it as it is"]
        what = f"{problem}; in {chosen} it fits, but bitsandbytes is not installed"
        raise EnvironmentProblem(what, where=f"model {spec.name}", next_step="; or ".join(ways))
    need = human_bytes(bytes_needed(info, spec.dtype, chosen, work_bytes))
    return Fitting(replace(spec, quantization=chosen), f"{problem}: loading in {chosen} ({need})")


def fit_to_memory(
    spec: ModelSpec, config: PretrainedConfig, info: ModelInfo, *, work_bytes: int | None = None
) -> Fitting:
    """`fitting_spec` with the memory that is free now on the device, or on all GPUs with `device_map`; logged.

    The memory of a Mac's GPU, and of a CPU outside Linux, is unknown: nothing is chosen.
    """
    if not spec.may_quantize:
        return Fitting(spec)
    free = free_memory(find_device(spec.device), several=spec.device_map is not None)
    found = fitting_spec(spec, config, info, free=free, work_bytes=work_bytes)
    if found.reason:
        log.warning("%s; --quantization none forbids it", found.reason)
    if found.warning:
        log.warning("%s", found.warning)
    return found


def _problem(spec: ModelSpec, info: ModelInfo, free: int, work_bytes: int | None) -> str:
    weights = weights_bytes(info, spec.dtype)
    needed = bytes_needed(info, spec.dtype, "none", work_bytes)
    return (
        f"the weights need {human_bytes(weights)} in {spec.dtype} ({human_bytes(needed)} with loading and a forward "
        f"pass), {human_bytes(free)} are free"
    )


def _ways_out(spec: ModelSpec) -> list[str]:
    ways = ["use --model_dtype bf16"] if spec.dtype == "fp32" else []
    if find_device(spec.device).type == "cuda":
        ways += [] if spec.device_map else ["use --device_map auto for several GPUs"]
        ways.append("use --device cpu")
    return [*ways, "free some memory", "use a smaller model"]
