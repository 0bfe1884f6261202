"""The list of models that the server loads, with their size beside the memory."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.api.models import KnownModel, ModelState
from neuron_signatures.server.settings import Settings


def known_models(names: Sequence[str], settings: Settings, state: ModelState) -> list[KnownModel]:
    return []
