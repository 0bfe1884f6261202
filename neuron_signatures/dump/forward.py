"""Forward passes over batches of prompts: each prompt's activations, in the save dtype, on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.dump.plan import token_bytes
from neuron_signatures.models.capture import MlpCapture, pad_batch
from neuron_signatures.models.load import TORCH_DTYPES, LoadedModel
from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.manifest import Dtype

log = logging.getLogger(__name__)

# Tokens per forward pass where memory does not set the limit: beyond this a pass is not faster per token.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 16384
_SHARE_OF_FREE_MEMORY = 0.4


@dataclass(frozen=True)
class PromptActs:
    """Activations of one prompt: its index in the input, `[layer pos neuron]` in the save dtype, and how many of
    the values are NaN or infinite."""

    index: int
    acts: Float[Tensor, "layer pos neuron"]
    nonfinite: int


def fitted_batch_tokens(model: LoadedModel, n_layers: int, d_mlp: int, save_dtype: Dtype) -> int:
    """Tokens per forward pass that fit into the device's free memory, at most what is useful."""
    if model.device.type != "cuda":
        return CPU_BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(model.device)
    fit = int(free * _SHARE_OF_FREE_MEMORY / bytes_per_token(model, n_layers, d_mlp, save_dtype))
    return max(1, min(GPU_BATCH_TOKENS, fit))


def bytes_per_token(model: LoadedModel, n_layers: int, d_mlp: int, save_dtype: Dtype) -> int:
    """Device memory of one token: what is kept, and a generous working set of one layer."""
    d_model = int(model.config.get_text_config().hidden_size)
    return token_bytes(n_layers, d_mlp, d_model, save_dtype, int(model.hf.dtype.itemsize))


def run_batch(
    model: LoadedModel,
    capture: MlpCapture,
    token_ids: Mapping[int, list[int]],
    indices: Sequence[int],
    save_dtype: Dtype,
) -> Iterator[PromptActs]:
    """Run the prompts at `indices` together and give their activations in that order.

    When the device is out of memory the batch is halved and run again, down to a single prompt; then
    `EnvironmentProblem` is raised with an estimate of what is needed.
    """
    try:
        stored = _forward(model, capture, [token_ids[i] for i in indices], save_dtype)
    except RuntimeError as e:
        if not _is_out_of_memory(e):
            raise
        if len(indices) == 1:
            raise _too_large(model, capture, len(token_ids[indices[0]]), save_dtype) from e
        stored = None
    if stored is None:  # outside of `except`: there the traceback would keep the batch's memory alive
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(indices) // 2
        log.warning("out of memory with %d prompts in a batch; going on with %d", len(indices), half)
        yield from run_batch(model, capture, token_ids, indices[:half], save_dtype)
        yield from run_batch(model, capture, token_ids, indices[half:], save_dtype)
        return
    clean = _all_finite(stored)
    for row, index in enumerate(indices):
        acts = stored[row, :, : len(token_ids[index])].contiguous()
        yield PromptActs(index, acts, 0 if clean else int((~torch.isfinite(acts)).sum()))


def _forward(
    model: LoadedModel, capture: MlpCapture, prompts: Sequence[list[int]], save_dtype: Dtype
) -> Float[Tensor, "batch layer pos neuron"]:
    batch = pad_batch(prompts, device=model.device)
    n, seq_len = batch.input_ids.shape
    shape = (n, len(capture.layers), seq_len, capture.shape.d_mlp)
    stored = torch.empty(shape, dtype=TORCH_DTYPES[save_dtype], device=model.device)

    def keep(row: int, acts: Tensor) -> None:
        stored[:, row] = acts

    capture.run(batch.input_ids, batch.attention_mask, keep)
    return stored.cpu()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a type for CUDA only; the CPU and MPS say it in the text (torch 2.13)."""
    signs = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def _all_finite(x: Tensor) -> bool:
    low, high = torch.aminmax(x)  # one pass; NaN wins both
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _too_large(model: LoadedModel, capture: MlpCapture, seq_len: int, save_dtype: Dtype) -> EnvironmentProblem:
    need = seq_len * bytes_per_token(model, len(capture.layers), capture.shape.d_mlp, save_dtype)
    return EnvironmentProblem(
        f"out of memory with one prompt of {seq_len} tokens, which needs about {human_bytes(need)} beside the weights",
        where=f"device {model.device}",
        next_step="Use --truncate, fewer --layers, --quantization 4bit, --device_map auto or --device cpu",
    )
