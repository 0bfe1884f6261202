"""The header of a GGUF file: its architecture, how it is stored, and what would be lost in a conversion.

transformers 5.23 ignores metadata and tensors that it does not know, such as scaled rotary embeddings or biases
that the architecture usually lacks. A model without them gives other activations, so such files are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers import PreTrainedConfig as PretrainedConfig
from transformers.integrations.gguf import GgufHeader, is_gguf_arch_supported, read_gguf_metadata
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.faults import condense
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

# `general.file_type`: what most of the tensors are stored in (ggml's numbers).
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
}  # fmt: skip
# What transformers raises for metadata that make no sense: it checks none of them.
BAD_VALUES: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
    MemoryError, struct.error,
)  # fmt: skip
# Metadata that change the model and that transformers does not read, with the value that changes nothing.
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "rope.scaling.type": ("none",), "rope.scaling.factor": (1, 0), "rope.scale_linear": (1, 0), "logit_scale": (1,),
    "embedding_scale": (1,), "residual_scale": (1,), "attention.scale": (),
}  # fmt: skip
_SCALED_POSITIONS: Final = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_OTHER_SOURCE: Final = "Use the model's Hugging Face id or folder instead"


@dataclass(frozen=True)
class Header:
    """`quantization` is how most tensors are stored, such as `Q4_1`.

    `pre_tokenizer` names the rule by which a byte-level tokenizer splits text: empty if the file does not name it, None
    for other kinds of tokenizers. `sliding_window` is in tokens, None if attention has no window.
    """

    architecture: str
    quantization: str
    pre_tokenizer: str | None
    tensors: tuple[str, ...]
    n_values: int
    """Values in all tensors together."""
    sliding_window: int | None


def read_header(spec: ModelSpec, file: Path) -> Header:
    """The header of a whole file. Raises `UsageError` for what is no GGUF file, for a mixture of experts, one part of
    a split file or a model that would be changed, `EnvironmentProblem` for a file that cannot be read or is cut off.
    """
    where = f"model {spec.name}"
    try:
        metadata, _ = read_gguf_metadata(str(file))
        table = GgufHeader.from_file(str(file))
        expected = table.data_start + max((t.offset + t.nbytes for t in table.tensors), default=0)
        header = _header(metadata, table)
    except OSError as e:
        raise EnvironmentProblem(f"cannot be read ({e.strerror or e})", where=where) from e
    except BAD_VALUES as e:
        raise UsageError(f"not a readable GGUF file: {_short(e, file)}", where=where) from e
    if metadata.get(f"{header.architecture}.expert_count"):
        what = f"its GGUF architecture {header.architecture} is a mixture of experts; dense models only"
        raise UsageError(what, where=where)
    if metadata.get("split.count", 0) not in (0, 1):
        step = "Merge the parts first: llama-gguf-split --merge"
        raise UsageError("it is one part of a split GGUF model", where=where, next_step=step)
    if not header.tensors:
        raise UsageError("the GGUF file holds no weights", where=where)
    if (size := file.stat().st_size) < expected:
        what = f"the GGUF file is cut off: {size} bytes, {expected} expected"
        raise EnvironmentProblem(what, where=where, next_step="Download it again")
    if changed := _not_read(metadata, header):
        what = f"transformers does not read {changed} from GGUF files, and the model would be another without it"
        raise UsageError(what, where=where, next_step=_OTHER_SOURCE)
    return header


def checked_config(spec: ModelSpec, file: Path, header: Header) -> PretrainedConfig:
    """The config of an architecture whose neurons can be captured, if every tensor of the file has a place in it.

    Raises `UsageError` that names the architecture, or the tensors that would be ignored.
    """
    where = f"model {spec.name}"
    architecture = f"its GGUF architecture {header.architecture}"
    try:
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        with torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(config)
        mlp_shape(shell)
        ignored = _ignored(shell, header)
    except UsageError as e:
        raise UsageError(f"{architecture} is not a dense decoder ({e.what})", where=where) from e
    except BAD_VALUES as e:
        what = f"{architecture} cannot be read as a causal language model by transformers: {_short(e, file)}"
        raise UsageError(what, where=where, next_step=_OTHER_SOURCE) from e
    n_values = sum(p.numel() for p in shell.parameters())
    if ignored or n_values != header.n_values:
        tensors = f", such as {', '.join(ignored[:3])}" if ignored else ""
        what = f"{header.n_values} values in the file, {n_values} in the model that transformers makes of it{tensors}"
        raise UsageError(what, where=where, next_step=_OTHER_SOURCE)
    return config


def _header(metadata: dict[str, Any], table: GgufHeader) -> Header:
    architecture, file_type = metadata["general.architecture"], metadata.get("general.file_type")
    pre = metadata.get("tokenizer.ggml.pre", "") if metadata.get("tokenizer.ggml.model") == "gpt2" else None
    window = metadata.get(f"{architecture}.attention.sliding_window")
    for value, kind in ((architecture, str), (pre or "", str), (file_type or 0, int)):
        if not isinstance(value, kind):
            raise TypeError(f"a {kind.__name__} is expected where {ascii(value)[:40]} stands")
    return Header(
        architecture=architecture,
        quantization=_FILE_TYPES.get(file_type or 0, f"type {file_type}"),
        pre_tokenizer=pre,
        tensors=tuple(t.name for t in table.tensors),
        n_values=sum(math.prod(t.shape) for t in table.tensors),
        sliding_window=window if isinstance(window, int) and window > 0 else None,
    )


def _not_read(metadata: dict[str, Any], header: Header) -> str | None:
    """What changes the model and would be left out; None if nothing."""
    for name, neutral in _NEUTRAL.items():
        key = f"{header.architecture}.{name}"
        if key in metadata and metadata[key] not in neutral:
            return key
    return next((name for name in header.tensors if name in _SCALED_POSITIONS), None)


def _ignored(shell: PreTrainedModel, header: Header) -> Sequence[str]:
    """Tensors of the file that have no place in the model."""
    if is_gguf_arch_supported(header.architecture):  # a newer loader, which reports them itself
        return ()
    processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=shell.config.to_dict())
    known = get_gguf_hf_weights_map(shell, processor)
    return [name for name in header.tensors if name not in known]


def _short(error: BaseException, file: Path) -> str:
    return condense(error).replace(str(file), "the file")
