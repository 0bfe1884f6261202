"""The loaded model as the functions of `server.live` take it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from neuron_signatures.api.models import ModelFacts
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.models.capture import MlpShape, mlp_shape
from neuron_signatures.models.identity import ModelIdentity, model_identity
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import context_length

Stop = Callable[[], bool]
"""Whether the request was given up: its client left, it timed out, or the server stops.
Asked between forward passes."""


class GivenUp(Exception):
    """Raised by work whose `Stop` returned True. Nobody waits for its result."""


@dataclass(frozen=True)
class Held:
    """A model, used by one thread. `runs_root` holds the runs that requests name; None: none.

    What takes long and depends on the model alone is computed at the first use, and kept as long as the model is.
    """

    model: LoadedModel
    facts: ModelFacts
    runs_root: Path | None
    max_tokens: int
    """Most tokens of a text, the model's context included."""
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    """Means and standard deviations of runs (`server.live.references`)."""

    @functools.cached_property
    def identity(self) -> ModelIdentity:
        """Reads the weight files for their fingerprint."""
        return model_identity(self.model.spec, self.model.config, self.model.tokenizer)

    @functools.cached_property
    def shape(self) -> MlpShape:
        return mlp_shape(self.model.hf)

    @functools.cached_property
    def vocab(self) -> int:
        """Rows of the embedding: the token ids that the model can read."""
        return int(self.model.hf.get_input_embeddings().weight.shape[0])

    @functools.cached_property
    def context(self) -> int | None:
        return context_length(self.model.config)

    @functools.cached_property
    def norms(self) -> Float[Tensor, "layer neuron"]:
        """The norm of each neuron's output weight."""
        return write_norms(self.model.hf, [0])
