"""The models that the server loads, with their sizes beside the memory. Nothing is downloaded or converted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from neuron_signatures.api.models import KnownModel, ModelState
from neuron_signatures.models.catalog import SUGGESTIONS, VERIFIED
from neuron_signatures.models.fit import first_that_fits
from neuron_signatures.models.hub import weights_in_cache
from neuron_signatures.models.info import ModelInfo, model_info, weights_bytes
from neuron_signatures.models.load import find_device
from neuron_signatures.models.memory import free_memory
from neuron_signatures.models.packaged import SMOLLM2, is_installed
from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, Dtype, ModelSpec, Quantization, path_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import DTYPE_BYTES
from neuron_signatures.server.settings import Settings, default_dtype

_LINEAR_SHARE: Final = 0.85
"""Of a suggested model's parameters are in matrices that it can quantise: 0.77 (Gemma-2-2b) to 0.96 (Llama-2)."""
_LINEAR_BYTES: Final = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
_USABLE: Final = 0.95
"""Share of the free memory that is counted on."""
_HF_CLASSES: Final = {a.model_type: a.hf_class for a in VERIFIED}
_SUGGESTED: Final = {s.model_name: s for s in SUGGESTIONS}

Fits = Literal["as it is", "8bit", "4bit", "no"]
_ANSWERS: Final[dict[Quantization | None, Fits]] = {"none": "as it is", "8bit": "8bit", "4bit": "4bit", None: "no"}


class _Size(NamedTuple):
    """Bytes of the weights, as they are and quantised."""

    plain: int
    eight: int
    four: int


def known_models(names: Sequence[str], settings: Settings, state: ModelState) -> list[KnownModel]:
    """What is known of each of these models without loading it."""
    device = find_device(settings.device)
    free = free_memory(device, several=False)
    if free is not None and state.facts is not None:
        free += state.facts.weights_bytes
    dtype = settings.model_dtype or default_dtype(device.type)
    return [_known(name, dtype, free) for name in names]


def _known(name: str, dtype: Dtype, free: int | None) -> KnownModel:
    suggested = _SUGGESTED.get(name)
    if suggested is None:
        return _local(name, dtype, free)
    size = _estimated(suggested.parameters, dtype)
    return KnownModel(
        model_name=name, architecture=_HF_CLASSES.get(suggested.model_type, suggested.model_type),
        parameters=suggested.parameters, n_layers=suggested.layers, d_mlp=suggested.d_mlp, gated=suggested.gated,
        weights_bytes=size.plain, weights_bytes_4bit=size.four, fits=_fits(size, free),
        in_cache=is_installed(SMOLLM2) if name == SMOLLM2_MODEL else weights_in_cache(name),
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _info_of_folder(name: str) -> ModelInfo | None:
    """None for a folder that is no model."""
    try:
        return model_info(ModelSpec(name))
    except ProjectError:
        return None


def _local(name: str, dtype: Dtype, free: int | None) -> KnownModel:
    """A model folder, by its config. A GGUF file is not read, nor a model of the Hub asked for."""
    is_folder = name == DEMO_MODEL or path_of(name).is_dir()
    info = _info_of_folder(name) if is_folder else None
    if info is None:
        return KnownModel(
            model_name=name, architecture="", parameters=None, n_layers=None, d_mlp=None, gated=False,
            weights_bytes=None, weights_bytes_4bit=None, fits=None,
            in_cache=path_of(name).exists() or weights_in_cache(name),
        )  # fmt: skip
    return KnownModel(
        model_name=name, architecture=info.architecture, parameters=info.parameters, n_layers=info.layers,
        d_mlp=info.d_mlp, gated=False, weights_bytes=weights_bytes(info, dtype),
        weights_bytes_4bit=weights_bytes(info, dtype, "4bit"),
        fits=None if free is None else _ANSWERS[first_that_fits(info, dtype, free)], in_cache=True,
    )  # fmt: skip


def _estimated(parameters: int, dtype: Dtype) -> _Size:
    rest = (1 - _LINEAR_SHARE) * DTYPE_BYTES[dtype]
    quantised = (int(parameters * (_LINEAR_SHARE * _LINEAR_BYTES[q] + rest)) for q in ("8bit", "4bit"))
    return _Size(parameters * DTYPE_BYTES[dtype], *quantised)


def _fits(size: _Size, free: int | None) -> Fits | None:
    if free is None:
        return None
    usable = _USABLE * free
    if size.plain <= usable:
        return "as it is"
    return "8bit" if size.eight <= usable else "4bit" if size.four <= usable else "no"
