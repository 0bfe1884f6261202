"""The autoencoders that a command names, for its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neuron_signatures.models.load import load_config
from neuron_signatures.models.saes.fit import sae_model_of_config
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.records.target_run import ModelPlan
from neuron_signatures.runs.skills.banks import SAE, SAE_SITES
from neuron_signatures.skills.collect.banks import SaeSource
from neuron_signatures.skills.collect.request import CollectRequest

FindSaes = Callable[[CollectRequest, ModelPlan], Sequence[SaeSource]]


def find_saes(request: CollectRequest, plan: ModelPlan) -> Sequence[SaeSource]:
    """Those of `--saes` at the chosen sites and layers; none without the flag. Loads no weights.

    Raises as `models.saes.load.saes_of`.
    """
    banks = request.banks
    if banks.saes is None or (banks.sources is not None and SAE not in banks.sources):
        return ()
    model = sae_model_of_config(plan.spec.name, load_config(plan.spec))
    sites = None if banks.sites is None else tuple(site for site in banks.sites if site in SAE_SITES)
    return saes_of(banks.saes, model=model, sites=sites, layers=banks.layers, force=request.force)
