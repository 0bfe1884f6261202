"""Directions of the residual stream: a neuron's output direction, or a vector from a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from neuron_signatures.interventions.steer.request import SteeredNeuron
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.write_path import write_path
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.opening import NotReadableError, read_regular

_MAX_BYTES = 1 << 26
_FORMS = "Give one vector of d_model numbers, as .npy or as the only tensor of a .safetensors file"


@torch.no_grad()
def output_directions(model: LoadedModel, layer: int, token_ids: list[int]) -> Float[Tensor, "neuron d_model"]:
    """What each neuron of a layer writes into the residual stream per unit of activation; float32 on the CPU.

    Through the norm on the MLP's output where the model has one (Gemma-2, Gemma-3), without the scale of that norm.
    """
    path = write_path(model.hf, token_ids)
    rows, post = path.rows(layer), path.post_mlp[layer]
    return (rows if post is None else post.unscaled(rows.to(post.weight.device))).float().cpu()


def output_direction(directions: Float[Tensor, "neuron d_model"], neuron: SteeredNeuron) -> Float[Tensor, " d_model"]:
    """That of one neuron of its layer's `directions`, times its sign. Raises `UsageError` if it is zero."""
    return neuron.sign * _checked(directions[neuron.neuron], f"neuron L{neuron.layer}N{neuron.neuron}")


def random_directions(
    vector: Float[Tensor, " d_model"], rng: np.random.Generator
) -> Iterator[Float[Tensor, " d_model"]]:
    """Vectors without end, of the same length, in directions drawn uniformly."""
    length = vector.norm()
    while True:
        drawn = torch.from_numpy(rng.standard_normal(len(vector))).to(vector)
        yield drawn * (length / drawn.norm())


def drawn_directions(
    pool: Float[Tensor, "some d_model"], vector: Float[Tensor, " d_model"], rng: np.random.Generator
) -> Iterator[Float[Tensor, " d_model"]]:
    """Vectors without end, of the same length, each along a random one of `pool`, in either direction."""
    length = vector.norm()
    while True:
        drawn = pool[int(rng.integers(len(pool)))]
        yield drawn * (float(rng.choice([-1.0, 1.0])) * length / drawn.norm())


def load_direction(path: Path, d_model: int) -> Float[Tensor, " d_model"]:
    """The vector in a `.npy` or `.safetensors` file, float32. Raises `UsageError` for any other content."""
    where = str(path)
    try:
        raw = read_regular(path, max_bytes=_MAX_BYTES)
        found = _safetensors(raw) if path.suffix == ".safetensors" else _npy(raw)
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=where) from e
    except (
        NotReadableError,
        OSError,
        ValueError,
        EOFError,
        SafetensorError,
        SyntaxError,
        MemoryError,
        TokenError,
    ) as e:
        raise UsageError(f"is not a vector in a .npy or .safetensors file ({e})", where=where, next_step=_FORMS) from e
    if tuple(found.shape) not in ((d_model,), (1, d_model)):
        what = f"has the shape {list(found.shape)}, the model's d_model is {d_model}"
        raise UsageError(what, where=where, next_step=_FORMS)
    return _checked(found.reshape(-1), where)


def _npy(raw: bytes) -> Tensor:
    array = np.load(io.BytesIO(raw), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError("no array of real numbers")
    return torch.from_numpy(array.astype(np.float32))


def _safetensors(raw: bytes) -> Tensor:
    tensors: dict[str, Tensor] = load(raw)
    if len(tensors) != 1:
        raise ValueError(f"it has {len(tensors)} tensors")
    (tensor,) = tensors.values()
    if tensor.is_complex():
        raise ValueError("no tensor of real numbers")
    return tensor.float()


def _checked(vector: Tensor, where: str) -> Tensor:
    if not bool(vector.isfinite().all()) or not bool(vector.any()):
        raise UsageError("the direction is zero or not finite", where=where)
    return vector
