"""Projections of a site on directions, captured like the activations of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.models.capture import Capture, MlpShape, backbone, decoder_layers
from neuron_signatures.models.sites import Place, SiteCapture, site_width
from neuron_signatures.runs.skills.banks import Bank, Site
from neuron_signatures.runs.skills.directions import DirectionArrays, DirectionsFile, SiteDirections


class Projection(NamedTuple):
    """Directions of one layer on its device, float32. `bias` and `threshold` are None where there is none."""

    rows: Float[Tensor, "unit width"]
    bias: Float[Tensor, " unit"] | None
    threshold: Float[Tensor, " unit"] | None

    @classmethod
    def of(cls, arrays: DirectionArrays, device: torch.device) -> Projection:
        return cls(*(None if a is None else torch.from_numpy(a).to(device) for a in arrays))  # type: ignore[arg-type]

    def acts(self, values: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos unit"]:
        """x · d plus the bias, in float32; 0 where that is not above the threshold, if there is one."""
        acts = values.float() @ self.rows.T
        if self.bias is not None:
            acts += self.bias
        return acts if self.threshold is None else torch.where(acts > self.threshold, acts, 0.0)


class DirectionCapture(Capture):
    """Captures the activations of directions, in float32. See `Capture`: `shape.d_mlp` is the number of directions.

    Directions are read when the capture is made, those of the chosen layers only. Raises `UsageError` if the file does
    not fit the model.
    """

    def __init__(
        self, hf: PreTrainedModel, file: DirectionsFile, chosen: SiteDirections, layers: Sequence[int] | None = None
    ) -> None:
        n_layers = len(decoder_layers(hf))
        widths: dict[Site, int] = {site: site_width(hf, site) for site in {bank.site for bank in file.banks}}
        file.check(widths, n_layers)
        wanted = tuple(chosen.layers if layers is None else layers)
        assert set(wanted) <= set(chosen.layers), "a layer without directions"
        super().__init__(MlpShape(n_layers, chosen.n_units), wanted, type(backbone(hf)).__name__)
        self._sites = SiteCapture(hf, [Place(chosen.site, layer) for layer in self.layers])
        self._row = {layer: row for row, layer in enumerate(self.layers)}
        self._projections = [
            Projection.of(file.arrays(_bank(chosen, layer)), device)
            for layer, device in zip(self.layers, layer_devices(hf, self.layers), strict=True)
        ]

    def _hooked(self) -> AbstractContextManager[object]:
        return self._sites

    def _forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        self._sites.run(input_ids, attention_mask, self._project)

    def _project(self, site: Site, layer: int, values: Tensor) -> None:
        row = self._row[layer]
        self._give(row, self._projections[row].acts(values))


def layer_devices(hf: PreTrainedModel, layers: Sequence[int]) -> list[torch.device]:
    """Where the weights of these layers are."""
    stack = decoder_layers(hf)
    return [next(stack[layer].parameters()).device for layer in layers]


def _bank(chosen: SiteDirections, layer: int) -> Bank:
    return Bank(chosen.source, chosen.site, layer, chosen.n_units)
