"""SAEs in a folder: folders of sae-lens (cfg.json and sae_weights.safetensors), or the layout of Gemma Scope.

Gemma Scope's files (Lieberum et al. 2024) are `layer_L/width_W/average_l0_N/params.npz`, or a safetensors file with the
same tensors. The site is only in the name of a folder above them: `gemma-scope-2b-pt-res`, or `res`, `att`, `mlp`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from neuron_signatures.models.saes.config import MAX_WIDTH, SaeConfig, parse_config
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.models.saes.weights import check_shapes, open_weights, read_sae
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input
from neuron_signatures.runs.skills.banks import SAE_SITES, Site

CONFIG_FILE: Final = "cfg.json"
WEIGHTS_FILE: Final = "sae_weights.safetensors"
_MAX_FOLDERS: Final = 20_000
_GEMMA_SCOPE: Final = re.compile(r"layer_(\d{1,4})/width_\w+/average_l0_\d+", re.ASCII)
_OF_SITE: Final = re.compile(r"(?:.*gemma-scope-(?P<size>\w+)-(?P<kind>pt|it)-)?(?P<site>res|att|mlp)(?:-canonical)?")
_ABOVE: Final = 3  # in the cache of the Hub: models--google--gemma-scope-2b-pt-res/snapshots/COMMIT/layer_0


def saes_in(folder: Path) -> Iterator[SaeSource]:
    """The SAEs below a folder, in the order of their paths. Weights are not read, only their shapes.

    Raises `UsageError` for an SAE that is damaged, incomplete or not supported.
    """
    for path in _folders(folder):
        name = path.name if path == folder else path.relative_to(folder).as_posix()
        if (path / CONFIG_FILE).is_file():
            config = parse_config(read_json_input(path / CONFIG_FILE), where=str(path / CONFIG_FILE))
            yield _source(name, config, path / WEIGHTS_FILE)
        elif (weights := _gemma_scope_file(path)) is not None:
            yield _source(name, _gemma_scope_config(weights), weights)


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and those below it, hidden ones left out."""
    for n, (path, below, _) in enumerate(os.walk(folder)):
        if n >= _MAX_FOLDERS:
            what = f"more than {_MAX_FOLDERS} folders"
            raise UsageError(what, where=str(folder), next_step="Give the folder that holds only the SAEs")
        below[:] = sorted((name for name in below if not name.startswith(".")), key=_by_number)
        yield Path(path)


def _by_number(name: str) -> list[tuple[int, str]]:
    """A sort key that puts layer_2 before layer_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,9})", name)]


def _source(name: str, config: SaeConfig, weights: Path) -> SaeSource:
    with open_weights(weights) as file:
        check_shapes(file.tensors, config, where=str(weights))
    load = functools.partial(_load, weights, config, name)
    return SaeSource(name, config, str(weights.parent), load)


def _load(weights: Path, config: SaeConfig, name: str, device: torch.device) -> Sae:
    return read_sae(weights, config, name=name, source=str(weights), device=device)


def _gemma_scope_file(path: Path) -> Path | None:
    if not _GEMMA_SCOPE.fullmatch("/".join(path.absolute().parts[-3:])):
        return None
    files = [path / "params.npz", *sorted(path.glob("*.safetensors"))]
    return next((file for file in files if file.is_file()), None)


def _gemma_scope_config(weights: Path) -> SaeConfig:
    site, layer, model_name = _gemma_scope_place(weights.parent)
    with open_weights(weights) as file:
        shape = file.tensors["W_enc"].shape if "W_enc" in file.tensors else ()
    if len(shape) != 2 or not all(0 < n <= MAX_WIDTH for n in shape):
        raise UsageError(f"W_enc should be a matrix [d_in, d_sae], and has shape {list(shape)}", where=str(weights))
    d_in, d_sae = shape
    return SaeConfig("jumprelu", d_in, d_sae, site, layer, None, False, False, model_name)


def _gemma_scope_place(path: Path) -> tuple[Site, int, str | None]:
    """Site, layer and model, from the names of the folder and those above it."""
    *above, layer, _, _ = path.absolute().parts
    for name in above[: -_ABOVE - 1 : -1]:
        if match := _OF_SITE.fullmatch(name):
            site = next(s for s in SAE_SITES if s == match["site"])
            tuned = "-it" if match["kind"] == "it" else ""
            model_name = f"gemma-2-{match['size']}{tuned}" if match["size"] else None
            return site, int(layer.removeprefix("layer_")), model_name
    what = "which site it reads is not known: no folder above layer_L is named res, att, mlp or gemma-scope-...-res"
    raise UsageError(what, where=str(path), next_step="Put the layers into a folder res, att or mlp")
