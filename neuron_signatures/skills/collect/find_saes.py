"""The autoencoders that a command names, for its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neuron_signatures.models.load import load_config
from neuron_signatures.models.saes.fit import SaeModel
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.records.target_run import ModelPlan
from neuron_signatures.runs.skills.banks import SAE, SAE_SITES
from neuron_signatures.skills.collect.request import CollectRequest

FindSaes = Callable[[CollectRequest, ModelPlan], Sequence[SaeSource]]


def find_saes(request: CollectRequest, plan: ModelPlan) -> Sequence[SaeSource]:
    """Those of `--saes` at the chosen sites and layers; none without the flag. Loads no weights.

    Raises as `models.saes.load.saes_of`.
    """
    asked = request.banks
    if asked.saes is None or (asked.sources is not None and SAE not in asked.sources):
        return []
    sites = None if asked.sites is None else [site for site in asked.sites if site in SAE_SITES]
    if sites == []:
        return []
    return saes_of(asked.saes, model=_fitting(plan), sites=sites, layers=asked.layers, force=request.force)


def _fitting(plan: ModelPlan) -> SaeModel:
    """What autoencoders have to fit, from the config alone."""
    config = load_config(plan.spec).get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return SaeModel(plan.spec.name, plan.info.layers, config.hidden_size, config.num_attention_heads * head)
