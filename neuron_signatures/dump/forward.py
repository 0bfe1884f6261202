"""Forward passes over batches: the activations of each prompt, in the save dtype, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.models.batching import BatchSize, Work, run_in_halves
from neuron_signatures.models.capture import Capture, pad_batch
from neuron_signatures.models.fit import token_bytes
from neuron_signatures.models.load import TORCH_DTYPES, LoadedModel
from neuron_signatures.runs.manifest import Dtype

# Maximum tokens per forward pass: larger passes are not faster per token.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 16384
_SHARE_OF_FREE_MEMORY = 0.4
_SMALLER = "--truncate, fewer --layers, --quantization 4bit, --device_map auto or --device cpu"


@dataclass(frozen=True)
class PromptActs:
    """One prompt: its index in the input, its activations in the save dtype, and the number of NaN or infinite ones."""

    index: int
    acts: Float[Tensor, "layer pos neuron"]
    nonfinite: int


def fitted_batch_tokens(model: LoadedModel, n_layers: int, d_mlp: int, save_dtype: Dtype) -> int:
    """Tokens per forward pass: as many as fit into the free device memory, up to the useful maximum."""
    if model.device.type != "cuda":
        return CPU_BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(model.device)
    fit = int(free * _SHARE_OF_FREE_MEMORY / bytes_per_token(model, n_layers, d_mlp, save_dtype))
    return max(1, min(GPU_BATCH_TOKENS, fit))


def bytes_per_token(model: LoadedModel, n_layers: int, d_mlp: int, save_dtype: Dtype) -> int:
    """Device memory per token, see `token_bytes`."""
    d_model = int(model.config.get_text_config().hidden_size)
    return token_bytes(n_layers, d_mlp, d_model, save_dtype, int(model.hf.dtype.itemsize))


def run_batch(
    model: LoadedModel,
    capture: Capture,
    token_ids: Mapping[int, list[int]],
    indices: Sequence[int],
    save_dtype: Dtype,
) -> Iterator[PromptActs]:
    """Run the prompts at `indices` together and yield their activations in that order.

    If the device is out of memory, the batch is halved and run again, down to a single prompt; then
    `EnvironmentProblem` is raised with an estimate of what is needed.
    """

    def run(part: Sequence[int]) -> tuple[Sequence[int], Float[Tensor, "batch layer pos neuron"]]:
        return part, _forward(model, capture, [token_ids[i] for i in part], save_dtype)

    def work(index: int) -> Work:
        n = len(token_ids[index])
        need = n * bytes_per_token(model, len(capture.layers), capture.shape.d_mlp, save_dtype)
        return Work("", f"device {model.device}", _SMALLER, n, need)

    size = BatchSize(len(indices))
    for part, stored in run_in_halves(run, indices, size=size, unit="prompts", work=work):
        clean = _all_finite(stored)
        for row, index in enumerate(part):
            acts = stored[row, :, : len(token_ids[index])].contiguous()
            yield PromptActs(index, acts, 0 if clean else int((~torch.isfinite(acts)).sum()))


def _forward(
    model: LoadedModel, capture: Capture, prompts: Sequence[list[int]], save_dtype: Dtype
) -> Float[Tensor, "batch layer pos neuron"]:
    batch = pad_batch(prompts, device=model.device)
    n, seq_len = batch.input_ids.shape
    shape = (n, len(capture.layers), seq_len, capture.shape.d_mlp)
    stored = torch.empty(shape, dtype=TORCH_DTYPES[save_dtype], device=model.device)

    def keep(row: int, acts: Tensor) -> None:
        stored[:, row] = acts

    capture.run(batch.input_ids, batch.attention_mask, keep)
    return stored.cpu()


def _all_finite(x: Tensor) -> bool:
    low, high = torch.aminmax(x)  # one pass; NaN propagates to both
    return bool(torch.isfinite(low) & torch.isfinite(high))
