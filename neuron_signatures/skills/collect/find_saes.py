"""The autoencoders that a command names, for its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neuron_signatures.records.target_run import ModelPlan
from neuron_signatures.skills.collect.banks import SaeSource
from neuron_signatures.skills.collect.request import CollectRequest

FindSaes = Callable[[CollectRequest, ModelPlan], Sequence[SaeSource]]


def find_saes(request: CollectRequest, plan: ModelPlan) -> Sequence[SaeSource]:
    """Those of `--saes` at the chosen sites and layers; none without the flag. Loads no weights.

    Raises as `models.saes.load.saes_of`.
    """
    raise NotImplementedError
