"""The banks of a command: planned from names and headers, then loaded beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from neuron_signatures.models.capture import decoder_layers
from neuron_signatures.models.directions import Projection, layer_devices
from neuron_signatures.models.info import ModelInfo
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank
from neuron_signatures.runs.skills.directions import DirectionsFile
from neuron_signatures.skills.collect.request import BanksRequest
from neuron_signatures.skills.collect.units.encoder import Encoder


@dataclass(frozen=True, eq=False)
class PlannedBank:
    """A bank before anything is loaded. `sae` and `directions` are None for neurons."""

    bank: Bank
    name: str
    """Of the autoencoder or file; `model` for neurons."""
    sae: SaeSource | None = None
    directions: Path | None = None

    @property
    def place(self) -> Place:
        return Place(self.bank.site, self.bank.layer)


@dataclass(frozen=True, eq=False)
class LoadedBank:
    """A bank whose units can be computed: `encoder` for features, `projection` for directions, neither for neurons."""

    bank: Bank
    name: str
    origin: str
    sha256: str | None
    device: torch.device
    encoder: Encoder | None = None
    projection: Projection | None = None

    @property
    def place(self) -> Place:
        return Place(self.bank.site, self.bank.layer)


def plan_banks(request: BanksRequest, info: ModelInfo, saes: Sequence[SaeSource]) -> list[PlannedBank]:
    """The chosen banks: features, neurons, directions, each by site and layer.

    Raises `UsageError` for layers that the model does not have, and if a source that is asked for has no bank.
    """
    for layer in request.layers or ():
        if layer >= info.layers:
            raise UsageError(f"there is no layer {layer}: the model has 0..{info.layers - 1}", where="--layers")
    found = [PlannedBank(Bank(SAE, s.site, s.layer, s.d_sae), s.name, sae=s) for s in saes]
    found += [PlannedBank(Bank(NEURONS, "neuron", layer, info.d_mlp), "model") for layer in range(info.layers)]
    if request.directions is not None:
        found += _directions(request.directions)
    _refuse_unfit(found, info)
    chosen = [plan for plan in found if _is_chosen(plan.bank, request)]
    for source in request.sources or ():
        if not any(plan.bank.source == source for plan in chosen):
            there = ", ".join(dict.fromkeys(plan.bank.source for plan in found))
            what = f"there are no units of {source!r} at these sites and layers; there are {there}"
            step = "Give --saes" if source == SAE and not saes else "Choose others, or give --directions FILE"
            raise UsageError(what, where="--sources", next_step=step)
    if not chosen:
        raise UsageError("no units are at these sites and layers", where="--sites and --layers")
    order = {SAE: 0, NEURONS: 1}
    sites = ("res", "att", "mlp", "neuron")
    return sorted(chosen, key=lambda p: (order.get(p.bank.source, 2), p.bank.source, sites.index(p.bank.site),
                                         p.bank.layer))  # fmt: skip


def load_banks(planned: Sequence[PlannedBank], model: LoadedModel) -> list[LoadedBank]:
    """The banks on the devices of their layers. Raises `UsageError` if weights do not fit the model."""
    widths = SiteCapture(model.hf, list(dict.fromkeys(plan.place for plan in planned))).widths
    devices = layer_devices(model.hf, range(len(decoder_layers(model.hf))))
    return [_load(plan, widths[plan.place], devices[plan.bank.layer]) for plan in planned]


def _load(plan: PlannedBank, width: int, device: torch.device) -> LoadedBank:
    bank = plan.bank
    if plan.sae is not None:
        sae = plan.sae.load(device)
        if (found := sae.W_enc.shape[0]) != width:
            what = f"reads {found} inputs, but {bank.site} of this model has {width}"
            raise UsageError(what, where=f"autoencoder {plan.name}", next_step="Use autoencoders of this model")
        return LoadedBank(bank, plan.name, plan.sae.origin, sae.sha256, device, encoder=Encoder(sae))
    if plan.directions is not None:
        with DirectionsFile(plan.directions) as file:
            if (found := file.width(bank)) != width:
                what = f"{bank.key} has width {found}, but {bank.site} of this model has {width}"
                raise UsageError(what, where=str(plan.directions), next_step="Use directions of this model")
            projection = Projection.of(file.arrays(bank), device)
        sha256 = sha256_file(plan.directions)
        return LoadedBank(bank, plan.name, str(plan.directions), sha256, device, projection=projection)
    return LoadedBank(bank, plan.name, "model", None, device)


def _directions(path: Path) -> list[PlannedBank]:
    with DirectionsFile(path) as file:
        for bank in file.banks:
            if bank.source in (SAE, NEURONS):
                what = f"its directions are named {bank.source}, as are those of the model and its autoencoders"
                raise UsageError(what, where=str(path), next_step="Give them another name, or use --saes")
        return [PlannedBank(bank, path.name, directions=path) for bank in file.banks]


def _refuse_unfit(found: Sequence[PlannedBank], info: ModelInfo) -> None:
    """Raise `UsageError` for a layer that the model does not have, and for two autoencoders at one place."""
    names: dict[str, str] = {}
    for plan in found:
        if plan.bank.layer >= info.layers:
            what = f"is of layer {plan.bank.layer}, but the model has 0..{info.layers - 1}"
            raise UsageError(what, where=plan.name, next_step="Use units of this model")
        other = names.setdefault(plan.bank.key, plan.name)
        if other != plan.name:
            what = f"{other} and {plan.name} are both at {plan.bank.site} of layer {plan.bank.layer}"
            raise UsageError(what, where="--saes", next_step="Give a folder with one autoencoder per site and layer")


def _is_chosen(bank: Bank, request: BanksRequest) -> bool:
    if request.sources is not None and bank.source not in request.sources:
        return False
    if request.layers is not None and bank.layer not in request.layers:
        return False
    # sites choose among autoencoders and directions; neurons are chosen by --sources
    return request.sites is None or bank.source == NEURONS or bank.site in request.sites
