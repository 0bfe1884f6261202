"""How the weights of neurons differ between models: each model is loaded once, and one at a time.

Directions are those that are stored: w_in and gate as the norm before the MLP gives them its output, w_out as it is
added to the MLP's output. The weights of norms are not folded in, since they are not the neuron's own.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from neuron_signatures.drift.align import Aligned
from neuron_signatures.models.capture import decoder_layers, linear_features, output_projections
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, load_run_model
from neuron_signatures.models.weights import output_weight
from neuron_signatures.runs.arrays import ArrayFile, LaterArray, nbytes, write_arrays
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.progress import Bar

KINDS: Final = ("in", "gate", "out")
_GATES: Final = ("gate_proj",)
_FUSED: Final = ("gate_up_proj",)


class Changes(NamedTuple):
    """Of one direction of each neuron: cosine between both models, and norm in b over norm in a. NaN for zero norm."""

    cosine: Float64[np.ndarray, " neuron"]
    norm_ratio: Float64[np.ndarray, " neuron"]


class StoredWeights:
    """The weights of the models that were loaded so far, in a temporary folder."""

    def __init__(self, folder: Path, aligned: Aligned, device: str) -> None:
        self._folder, self._aligned, self._device = folder, aligned, device
        self.loss: dict[int, float] = {}
        """Mean loss of the next token over the compared prompts, in nats, by run."""

    def load(self, run: int) -> None:
        """Load the model of a run and keep its weights. Raises the project's errors."""
        model = self._model(run)
        arrays = {
            f"{kind}.{layer}": LaterArray(np.dtype(np.float32), tuple(rows.shape), partial(_array, model, layer, kind))
            for layer in self._aligned.layers for kind, rows in mlp_weights(model.hf, layer).items()
        }  # fmt: skip
        self.loss[run] = _loss(model, self._aligned)
        with explain_os_errors(self._path(run), needed=nbytes(arrays)), self._path(run).open("wb") as f:
            write_arrays(f, arrays)
        del model, arrays
        gc.collect()

    def changes(self, a: int, b: int, layer: int) -> dict[str, Changes]:
        """By kind of weight, for those that both models have with the same shape."""
        with ArrayFile(self._path(a)) as first, ArrayFile(self._path(b)) as second:
            keys = {kind: f"{kind}.{layer}" for kind in KINDS}
            return {
                kind: changes(first.read(key), second.read(key))
                for kind, key in keys.items()
                if key in first.keys() and key in second.keys() and first.shape(key) == second.shape(key)  # noqa: SIM118
            }

    def _path(self, run: int) -> Path:
        return self._folder / f"{run}.safetensors"

    def _model(self, run: int) -> LoadedModel:
        try:
            return load_run_model(self._aligned.runs[run], ModelOverrides(device=self._device))[0]
        except ProjectError as e:
            raise type(e)(e.what, where=e.where, next_step=f"{e.next_step}; or use --no_weights".lstrip("; ")) from e


@contextmanager
def stored_weights(aligned: Aligned, device: str) -> Iterator[StoredWeights]:
    with TemporaryDirectory(prefix="neuron-signatures-") as folder:
        yield StoredWeights(Path(folder), aligned, device)


def load_all(weights: StoredWeights, aligned: Aligned, bar: Bar) -> None:
    """Every model once."""
    for run in aligned.runs:
        weights.load(run)
        bar.advance(1)


def changes(a: Float32[np.ndarray, "neuron d_model"], b: Float32[np.ndarray, "neuron d_model"]) -> Changes:
    """As in `measures.pearson`, the same operations on both sides: 1 for equal weights."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    xy, xx, yy = ((p * q).sum(axis=1) for p, q in ((x, y), (x, x), (y, y)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Changes(xy / np.sqrt(xx * yy), np.where(xx > 0, np.sqrt(yy) / np.sqrt(xx), np.nan))


def mlp_weights(hf: PreTrainedModel, layer: int) -> dict[str, Tensor]:
    """Directions of the neurons of a layer, one row per neuron: `out`, `in`, and `gate` in a gated MLP.

    Raises `UsageError` if the projections into the neurons are not plain linear maps of known names.
    """
    projection = output_projections(hf)[layer]
    features = linear_features(projection)
    assert features is not None
    parent = _parent(decoder_layers(hf)[layer], projection)
    found = {"out": output_weight(projection)}
    for name, module in parent.named_children():
        shape = linear_features(module)
        if module is projection or shape is None or shape[0] != features[1]:
            continue
        if shape[1] == 2 * features[0] and name in _FUSED:
            found["gate"], found["in"] = _rows(module).chunk(2)
        elif shape[1] == features[0]:
            found["gate" if name in _GATES else "in"] = _rows(module)
    if "in" not in found:
        what = f"layer {layer}: the projection into the neurons is not known"
        raise UsageError(what, where=type(hf).__name__, next_step="Use --no_weights")
    return found


def _array(model: LoadedModel, layer: int, kind: str) -> np.ndarray:
    found: np.ndarray = mlp_weights(model.hf, layer)[kind].detach().float().cpu().contiguous().numpy()
    return found


def _parent(layer: nn.Module, projection: nn.Module) -> nn.Module:
    return next(m for m in layer.modules() if any(child is projection for child in m.children()))


def _rows(module: nn.Module) -> Tensor:
    """One row per output."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if not weight.is_floating_point() or weight.ndim != 2:
        raise UsageError("its weights are quantised", where=type(module).__name__, next_step="Use --no_weights")
    return weight if isinstance(module, nn.Linear) else weight.T


@torch.no_grad()
def _loss(model: LoadedModel, aligned: Aligned) -> float:
    """NaN if no compared prompt has two tokens."""
    total, count = 0.0, 0
    for tokens in aligned.tokens:
        ids = torch.tensor([tokens.token_ids], device=model.device)
        if ids.shape[1] < 2:
            continue
        logits = model.hf(input_ids=ids, use_cache=False).logits[0, :-1].float()
        total += float(cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return total / count if count else float("nan")
