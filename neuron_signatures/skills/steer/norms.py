"""The mean norm of a site: the unit of a dose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.runs.skills.banks import Site


def site_norms(
    model: LoadedModel, texts: Sequence[Sequence[int]], places: Sequence[Place], *, rows: int
) -> dict[Place, float]:
    """Mean norm over all positions of the texts but the first ones, in float64. `rows` texts are run at a time."""
    totals = dict.fromkeys(places, 0.0)
    longest = max(texts, key=len)
    with memory_faults(work_on(model.hf, "the norms of the sites", longest)), SiteCapture(model.hf, places) as capture:
        for start in range(0, len(texts), rows):
            batch = pad_batch([list(ids) for ids in texts[start : start + rows]], device=model.device)
            counted = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask

            def add(site: Site, layer: int, values: Tensor, counted: Tensor = counted) -> None:
                norms = values.double().norm(dim=-1) * counted.to(values.device)
                totals[Place(site, layer)] += float(norms[:, 1:].sum())

            capture.run(batch.input_ids, batch.attention_mask, sink=add)
    n = sum(len(ids) - 1 for ids in texts)
    return {place: total / n for place, total in totals.items()}
