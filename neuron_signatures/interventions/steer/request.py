"""What `--mode steer` is asked for: what is steered, by which amounts, where, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from neuron_signatures.analysis.attribution.corpus_moments import RecordsSource
from neuron_signatures.analysis.attribution.targets import ResolvedTarget
from neuron_signatures.interventions.copies import DEFAULT_BATCH
from neuron_signatures.interventions.names import DEFAULT_N_RANDOM
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.side_effects.measure import DEFAULT_SETS
from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt
from neuron_signatures.models.tokens import context_length
from neuron_signatures.runs.errors import UsageError

NeuronUnit = Literal["std", "1"]
DirectionUnit = Literal["residual", "1"]
GenerateAt = Literal["prompt", "all"]

DEFAULT_ALPHAS = (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
"""In standard deviations of a neuron."""
DEFAULT_DIRECTION_ALPHAS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
"""In mean norms of the residual stream."""
DEFAULT_BREAK_FACTOR = 4.0
DEFAULT_NEW_TOKENS = 20


class SteeredNeuron(NamedTuple):
    """`sign` is -1 for the negative pole (`L4N178-`): a positive amount makes its activation smaller."""

    layer: int
    neuron: int
    sign: int


class RecordsStds(NamedTuple):
    """The standard deviation of each neuron over `n_tokens` tokens of the records of a corpus."""

    values: tuple[float, ...]
    n_tokens: int
    source: RecordsSource


@dataclass(frozen=True)
class Neurons:
    """Adds amount·sign·s to each neuron: s is its standard deviation (`std`), or 1.

    The standard deviation is over the run, or from `records`.
    """

    neurons: tuple[SteeredNeuron, ...]
    unit: NeuronUnit = "std"
    records: RecordsStds | None = None


@dataclass(frozen=True)
class NeuronDirection:
    """The output direction of one neuron, at its layer's output.

    With the unit `residual` the amount 1 is the mean norm of the residual stream there; with `1` it is what one unit of
    activation writes (before the scale of the norm on the MLP's output, in models that have one).
    """

    neuron: SteeredNeuron
    unit: DirectionUnit = "residual"


@dataclass(frozen=True)
class FileDirection:
    """A vector [d_model] from a `.npy` or `.safetensors` file, at the output of `layer`; units as above."""

    path: Path
    layer: int
    unit: DirectionUnit = "residual"


Steered = Neurons | NeuronDirection | FileDirection


@dataclass(frozen=True)
class Generation:
    """How texts are generated: at temperature 0 the most likely tokens, else drawn with `seed`, the same for every
    amount. `at` says whether only the prompt is steered, or also every new position. No text with 0 tokens."""

    max_new_tokens: int = DEFAULT_NEW_TOKENS
    temperature: float = 0.0
    seed: int = 0
    at: GenerateAt = "all"


@dataclass(frozen=True)
class SteerControls:
    """`n_random` random neurons or directions per amount (at most; 0: none), and the side effects on `neutral`
    (None: not measured) beside those of `n_sets` random ones. `batch` copies of the prompt per forward pass."""

    n_random: int = DEFAULT_N_RANDOM
    seed: int = 0
    neutral: Neutral | None = None
    n_sets: int = DEFAULT_SETS
    batch: int = DEFAULT_BATCH


@dataclass(frozen=True)
class SteerRequest:
    """All resolved: `positions` of the prompt are ascending and non-negative, none after the target position.

    `session` has the model of `checked`. The text of an amount is broken if its perplexity under the clean model is
    above `break_factor` times that of the unsteered one.
    """

    checked: CheckedPrompt
    session: Session
    resolved: ResolvedTarget
    positions: tuple[int, ...]
    steered: Steered
    alphas: tuple[float, ...]
    generation: Generation = field(default_factory=Generation)
    controls: SteerControls = field(default_factory=SteerControls)
    break_factor: float = DEFAULT_BREAK_FACTOR

    @property
    def d_model(self) -> int:
        return int(self.checked.model.hf.get_input_embeddings().weight.shape[1])

    @property
    def doses(self) -> tuple[float, ...]:
        """The amounts in ascending order, 0 always among them."""
        return tuple(sorted({0.0, *(a + 0.0 for a in self.alphas)}))  # -0.0 is 0.0


def check_request(request: SteerRequest) -> None:
    """Raise `UsageError` for amounts, positions or neurons that cannot be steered."""
    r, n_tokens = request, request.checked.prompt.seq_len
    if len(r.doses) < 2:
        raise UsageError("there is no amount but 0", where="--alpha", next_step="Give some, such as -4,-2,2,4")
    if any(abs(a) > 1e6 or a != a for a in r.doses):
        raise UsageError("amounts must be numbers of at most 1e6", where="--alpha")
    late = [p for p in r.positions if p > r.resolved.target.pos]
    if late:
        what = f"position {late[0]} is after the target position {r.resolved.target.pos}, so it has no effect there"
        raise UsageError(what, where="--positions", next_step="Steer at or before the target position")
    most = context_length(r.checked.model.config)
    if most is not None and n_tokens + r.generation.max_new_tokens > most:
        what = f"{n_tokens} tokens and {r.generation.max_new_tokens} new ones do not fit into the context of {most}"
        raise UsageError(what, where="--max_new_tokens")
    if isinstance(r.steered, Neurons):
        _check_neurons(r.steered.neurons, r)
    elif isinstance(r.steered, NeuronDirection):
        _check_neurons((r.steered.neuron,), r)
    elif not 0 <= r.steered.layer < r.checked.acts.shape[0]:
        what = f"{r.steered.layer} is not in 0..{r.checked.acts.shape[0] - 1}"
        raise UsageError(what, where="--layer")


def _check_neurons(neurons: tuple[SteeredNeuron, ...], request: SteerRequest) -> None:
    n_layers, _, width = request.checked.acts.shape
    seen = set()
    for n in neurons:
        where = f"neuron L{n.layer}N{n.neuron}"
        if not (0 <= n.layer < n_layers and 0 <= n.neuron < width):
            raise UsageError(f"the model has layers 0..{n_layers - 1} of neurons 0..{width - 1}", where=where)
        if (n.layer, n.neuron) in seen:
            raise UsageError("is given twice", where=where)
        seen.add((n.layer, n.neuron))
    if not neurons:
        raise UsageError("no neurons", where="--neurons")
