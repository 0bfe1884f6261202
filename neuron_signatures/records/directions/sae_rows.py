"""Rows of sparse autoencoders as directions.

`encoder`: the features themselves, x · W_enc[:, f] + b_enc[f] (with b_dec taken from x first where the SAE does so),
and 0 unless that is above the feature's threshold. `decoder`: (x - b_dec) · W_dec[f], how much of the direction that
the feature writes is in x. A decoder's projection is no feature: it is dense and has both signs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from neuron_signatures.models.info import model_info, site_widths
from neuron_signatures.models.load import load_config
from neuron_signatures.models.saes.fit import SaeModel
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.directions.make import MadeFile, made_of
from neuron_signatures.runs.arrays import LaterArray
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import SAE_SITES, Site
from neuron_signatures.runs.skills.directions import DirectionArrays, write_directions

Rows = Literal["encoder", "decoder"]
NAMES: dict[Rows, str] = {"encoder": "sae_enc", "decoder": "sae_dec"}


class SaeRequest(NamedTuple):
    """Which rows of which SAEs; `saes` as in `saes_of`. `layers` None means all that there are."""

    model: ModelSpec
    saes: str
    rows: Rows
    sites: tuple[Site, ...]
    layers: tuple[int, ...] | None
    name: str | None = None


def make_of_saes(request: SaeRequest, out: Path) -> MadeFile:
    """Write the rows of SAEs; direction 5 is feature 5. Raises `UsageError` for SAEs that do not fit the model, and for
    the encoder of a top-k SAE, whose features depend on each other."""
    config = load_config(request.model)
    info = model_info(request.model, config)
    d_z = site_widths(request.model, ["att"])["att"]
    if "neuron" in request.sites:
        raise UsageError(f"SAEs read {', '.join(SAE_SITES)}", where="--site neuron")
    model = SaeModel(request.model.name, info.layers, info.d_model, d_z)
    found = saes_of(request.saes, model=model, sites=request.sites, layers=request.layers)
    arrays: dict[str, np.ndarray | LaterArray] = {}
    for source in found:
        if request.rows == "encoder" and source.config.architecture == "topk":
            what = "features of a top-k SAE depend on each other: its encoder is no set of directions"
            raise UsageError(what, where=f"SAE {source.origin}", next_step="Use --rows decoder")
        arrays |= _arrays(f"{request.name or NAMES[request.rows]}.{source.site}.{source.layer}", source, request.rows)
    digest = write_directions(out, arrays, made_of(request.model, "sae", None, None))
    keys = tuple(key for key in arrays if key.count(".") == 2)
    return MadeFile(out, digest, keys, found[0].d_sae, 0)


def sae_directions(sae: Sae, rows: Rows) -> DirectionArrays:
    """The rows of one SAE, as the module's text says."""
    if rows == "decoder":
        return DirectionArrays(_numpy(sae.W_dec), _numpy(-(sae.W_dec @ sae.b_dec)), None)
    assert sae.k is None
    bias = sae.b_enc - (sae.b_dec @ sae.W_enc if sae.apply_b_dec_to_input else 0)
    threshold = torch.zeros_like(bias) if sae.threshold is None else sae.threshold.clamp_min(0)
    return DirectionArrays(_numpy(sae.W_enc.T), _numpy(bias), _numpy(threshold))


def _arrays(key: str, source: SaeSource, rows: Rows) -> dict[str, np.ndarray | LaterArray]:
    """The matrix is made when it is written, so that one SAE is in memory at a time."""
    _, bias, threshold = sae_directions(source.load("cpu"), rows)
    shape = (source.d_sae, source.d_in)
    later = LaterArray(np.dtype("<f4"), shape, lambda: sae_directions(source.load("cpu"), rows).rows)
    vectors = {"bias": bias, "threshold": threshold}
    return {key: later, **{f"{key}.{name}": values for name, values in vectors.items() if values is not None}}


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().contiguous().numpy()
