"""Messages about one text and the loaded model: tokens, activations, predictions, influence, interventions, generation.

Positions are those of the text as the model reads it, with its BOS if it has one. Activations are those of
`blocks.L.mlp.hook_post`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from neuron_signatures.api.base import (
    MAX_LISTED,
    MAX_TEXT,
    MAX_TOKENS,
    Answer,
    Index,
    Layer,
    Message,
    Name,
    Position,
    TokenText,
)

LiveMetric = Literal["dla", "act_grad", "relp", "ig"]
# The same as `models.spec.BosRequest`, which viewers do not import.
BosRequest = Literal["prepend", "tokenizer", "off"]
EditKind = Literal["zero", "mean", "set", "add", "scale", "flip"]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class TextRequest(Message):
    """A text, or its token ids as they are."""

    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    token_ids: Annotated[list[Index], Field(min_length=1, max_length=MAX_TOKENS)] | None = None
    bos: BosRequest = "prepend"
    """A BOS in front of `text`: always (prepend, as stage 1 does by default), as the tokenizer does, or never (off).
    Token ids are not changed."""

    @model_validator(mode="after")
    def _one(self) -> TextRequest:
        if (self.text is None) == (self.token_ids is None):
            raise ValueError("give text or token_ids, and not both")
        return self


class Token(Answer):
    """`token` is the token's own string: spaces kept, nothing escaped."""

    pos: int
    token_id: int
    token: str


class TokensAnswer(Answer):
    tokens: list[Token]
    bos: bool
    """Whether the first token is a BOS."""


class NeuronRef(Message):
    layer: Layer
    neuron: Index


# --- activations


class ActivationsRequest(TextRequest):
    """Activations of chosen neurons at all positions, and the strongest neurons of the text.

    `top_k` neurons are listed at each of `positions` (None: all but the first, which carries massive activations),
    among `layers` (None: all). They are ordered by |act|; with `against_run` by |z|, z = (act - mean) / std over the
    tokens of that run's corpus records, or of its prompts if it has no records. A neuron whose act is not finite, or
    whose z is undefined, is not listed.

    /activations/tensor takes the same message, without `neurons` and `against_run`; `top_k` is not used. Its answer are
    the bytes of a safetensors file: for each of `layers` a tensor `L{layer}` [pos neuron] in float32, with one row for
    each of `positions` (None: all), in their order. Its metadata has `token_ids` and `positions`, as JSON.
    """

    neurons: Annotated[tuple[NeuronRef, ...], Field(max_length=200)] = ()
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000)] | None = None
    positions: Annotated[list[Position], Field(min_length=1, max_length=MAX_TOKENS)] | None = None
    top_k: int = Field(default=10, ge=0, le=100)
    against_run: Name | None = None


class NeuronActs(Answer):
    layer: int
    neuron: int
    acts: list[float | None]
    """One per position; null if not finite."""


class TopAct(Answer):
    pos: int
    layer: int
    neuron: int
    act: float
    z: float | None = None


class LayerActs(Answer):
    """Over all neurons of a layer at the positions but the first (at the first if there is no other), finite values
    only; null if there is none."""

    layer: int
    mean_abs: float | None
    max_abs: float | None
    share_positive: float | None


class ActivationsAnswer(Answer):
    tokens: list[Token]
    neurons: list[NeuronActs]
    top: list[TopAct]
    """By position, strongest first."""
    layers: list[LayerActs]
    ordered_by: Literal["act", "z"]
    reference: str = ""
    """What z is relative to: the run, and the number of tokens."""
    warnings: list[str]


# --- predictions


class NextTokenRequest(TextRequest):
    """The model's prediction after position `pos`. `tokens` are listed too, wherever they rank; each must be exactly
    one token (leading spaces count)."""

    pos: Position = -1
    top_k: int = Field(default=10, ge=1, le=MAX_LISTED)
    tokens: Annotated[tuple[TokenText, ...], Field(max_length=50)] = ()


class Chance(Answer):
    """`logit` after the model's soft cap; `rank` 0 is the most likely token."""

    token_id: int
    token: str
    logit: float
    log_prob: float
    prob: float
    rank: int


class NextTokenAnswer(Answer):
    tokens: list[Token]
    pos: int
    top: list[Chance]
    asked: list[Chance]
    entropy: float
    """Of the prediction, in nats."""
    warnings: list[str]


class TargetMessage(Message):
    """What is explained: the logit (before a soft cap) of `target` at `pos`, minus that of `foil` if given.

    Without a target: the most likely token. A token is given as text that is exactly one token, or as an id.
    """

    pos: Position = -1
    target: TokenText | None = None
    target_id: Index | None = None
    foil: TokenText | None = None
    foil_id: Index | None = None


class TargetAnswer(Answer):
    pos: int
    target: Chance
    foil: Chance | None
    value: float
    """Of the target function: the pre-cap logit, or the difference of two."""


# --- influence


class InfluenceRequest(TextRequest):
    """Neurons by their influence on the target, relative to a reference: (act - reference) · g, g by the metric.

    `reference` is zero, run:NAME (the mean over the tokens of that run's prompts, without first positions) or
    records:NAME (the mean over the tokens of its corpus records). `positions`: the target's alone (target), or all up
    to it but the first (all).
    """

    on: TargetMessage = TargetMessage()
    metric: LiveMetric = "act_grad"
    reference: Name = "zero"
    positions: Literal["target", "all"] = "target"
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000)] | None = None
    top_k: int = Field(default=20, ge=1, le=MAX_LISTED)
    ig_steps: int = Field(default=50, ge=1, le=10_000)
    """Of ig: the first number of points on the path; it is tripled up to `ig_max_steps` while the scores do not sum
    up."""
    ig_max_steps: int = Field(default=1350, ge=1, le=10_000)


class InfluenceRow(Answer):
    pos: int
    layer: int
    neuron: int
    act: float
    reference: float
    influence: float
    """Positive: the neuron's value, rather than its reference, supports the target."""


class InfluenceAnswer(Answer):
    tokens: list[Token]
    on: TargetAnswer
    metric: LiveMetric
    reference: str
    rows: list[InfluenceRow]
    """By |influence|, largest first."""
    sum_all: float
    """Over all neurons of `layers` at the positions."""
    sum_abs: float
    share_shown: float | None
    """Of sum_abs; null if that is 0."""
    warnings: list[str]


# --- interventions


class EditMessage(Message):
    """One change of neurons of one layer at `positions` (None: everywhere, in generation also at new tokens).

    | kind | new activation |
    |---|---|
    | zero | 0 |
    | mean | the mean over the tokens of `reference_run`: NAME or run:NAME (its prompts), records:NAME (its corpus) |
    | set | value |
    | add | a + value |
    | scale | value · a |
    | flip | -a |

    a is the activation in the edited pass, so that later layers respond to edits of earlier ones. Several edits of one
    neuron apply in their order.
    """

    layer: Layer
    neurons: Annotated[list[Index], Field(min_length=1, max_length=20_000)]
    kind: EditKind = "zero"
    value: Number = 0.0
    positions: Annotated[list[Position], Field(min_length=1, max_length=MAX_TOKENS)] | None = None
    reference_run: Name | None = None

    @model_validator(mode="after")
    def _has_its_value(self) -> Self:
        if self.kind in ("set", "add", "scale") and "value" not in self.model_fields_set:
            raise ValueError(f"{self.kind} needs a value")
        return self


class InterveneRequest(TextRequest):
    """The prediction with and without edits.

    `controls` is the number of draws of a null: each draw changes other neurons, as many of each layer, at the same
    positions. With `controls_by` delta each gets a change of its activation that is as large in the residual stream
    (|delta| times the norm of the output weight), with a random sign, as in stage 3. With edit they get the same edits
    (of kind mean: their own means): most neurons are nearly silent, so this null is narrow, and nearly every neuron
    with a large activation is outside of it.
    """

    edits: Annotated[list[EditMessage], Field(min_length=1, max_length=64)]
    on: TargetMessage = TargetMessage()
    top_k: int = Field(default=10, ge=1, le=MAX_LISTED)
    controls: int = Field(default=0, ge=0, le=1000)
    controls_by: Literal["edit", "delta"] = "delta"
    seed: Index = 0


class Controls(Answer):
    """Effects of edits of random neurons. `p` = (1 + exceeded) / (1 + n), where `exceeded` is the number of draws with
    at least the effect in absolute value (to 1e-5). Null if an effect is not finite."""

    by: Literal["edit", "delta"] = "delta"
    n: int
    mean: float | None
    std: float | None
    """Of the draws (divided by n)."""
    low: float | None = None
    """The 5th percentile."""
    high: float | None = None
    """The 95th percentile."""
    largest: float | None
    """In absolute value, signed."""
    exceeded: int | None = None
    p: float | None


class InterveneAnswer(Answer):
    tokens: list[Token]
    before: TargetAnswer
    after: TargetAnswer
    """The same target (that of `before`) with the edits."""
    effect: float
    """after.value - before.value."""
    kl: float
    """KL(before || after) of the prediction at the target position, in nats."""
    top_before: list[Chance]
    top_after: list[Chance]
    controls: Controls | None
    warnings: list[str]


# --- generation


class GenerateRequest(TextRequest):
    """Greedy at temperature 0, else drawn with `seed`, the same draws with and without edits."""

    edits: Annotated[tuple[EditMessage, ...], Field(max_length=64)] = ()
    max_new_tokens: int = Field(default=20, ge=1, le=500)
    temperature: float = Field(default=0.0, ge=0.0, le=5.0)
    seed: Index = 0
    compare: bool = True
    """With edits: generate without them too."""


class Generated(Answer):
    """The new tokens, and their text without the end token."""

    text: str
    tokens: list[Token]
    finished: bool
    """Whether it ended with an end token, rather than at `max_new_tokens`."""


class GenerateAnswer(Answer):
    prompt: list[Token]
    edited: Generated | None
    plain: Generated | None
    warnings: list[str]
