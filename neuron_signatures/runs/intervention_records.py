"""The JSON records of stage 3, with the fields that viewers read (docs/run-format.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from neuron_signatures.runs.result_records import Count, Label, Name, Number, Record, StageRecord, TargetRecord

Text = Name


class Answer(Record):
    """One token in a prediction. `logit` is before the soft cap, if the model has one; `rank` is 0 for the most likely
    token."""

    token_id: Count
    token: Name
    logit: float
    probability: float
    rank: Count


# JSON has lists for tuples, which the strict records would refuse.
Answers = Annotated[tuple[Answer, Answer], Field(strict=False)]
Positions = Annotated[tuple[Count, Count], Field(strict=False)]


class Prediction(Record):
    """What the model predicts at the target position. `difference`, `logprob` (nats), `probability` and `rank` are of
    the target; `kl` is KL(clean ‖ this) in nats; `top` are the most likely tokens."""

    difference: float
    logprob: float
    probability: float
    rank: Count
    kl: float
    top: list[Answer] = []


class Null(Record):
    """Effects of random edits on the target function: their mean, spread and 5th and 95th percentile, the largest, how
    many are at least the observed one, and how many change whether the target is the most likely token."""

    what: Label
    n: Count
    mean: Number
    std: Number
    low: Number
    high: Number
    most: Number
    exceeded: Count
    p: Number
    z: Number = None
    n_flipped: Count | None = None


class WrongSource(Record):
    """The same search with another entity's prompt. `difference` is the change of the pair's own difference, `own` of
    that of the wrong source's answer, both at `k` cells; the other answers' change is beside the real one's."""

    text: Text
    answer: Name
    k: Count
    difference: float
    own: float
    source_logit: float
    """Change of the logit of the right source's answer."""
    own_logit: float
    """Change of the logit of the wrong source's answer."""
    own_smallest_k: Count | None


class Controls(Record):
    """`observed` is the effect on the target function (of a swap, the difference of the two answers' pre-cap logits) in
    the form that the controls have: cells set to clean + delta."""

    observed: float
    two_sided: bool
    random: Null | None = None
    scrambled: Null | None = None
    permuted: Null | None = None
    negative: Number = None
    wrong_source: WrongSource | None = None
    own_share: float = 0.0
    """The share of a random set, on average, that are neurons of the set itself."""
    left_out: list[Label] = []
    """Why a control is not there."""


class NeutralPrompt(Record):
    text: Text
    kl: float
    top_before: Name
    top_after: Name
    probability_before: float
    probability_after: float
    """Of the token that was the most likely one before."""


class RandomSideEffects(Record):
    """Side effects of random sets of the same size and norm."""

    n_sets: Count
    kl_mean: float
    kl_low: float
    kl_high: float


class SideEffects(Record):
    """The same values set at the last position of prompts that have nothing to do with the target. KL in nats."""

    n_prompts: Count
    kl_mean: float
    kl_median: float
    kl_max: float
    n_top_changed: Count
    facts: Count
    """Prompts with a known continuation, and for how many it was and is the most likely one."""
    facts_before: Count
    facts_after: Count
    perplexity_before: float
    perplexity_after: float
    n_tokens: Count
    """Tokens of the held-out text, at all of which (but the first) the values are set for the perplexity."""
    random: RandomSideEffects | None = None
    notes: list[Label] = []
    """What the numbers do not say, such as for a model that does not know the texts."""
    prompts: list[NeutralPrompt] = []


class PromptText(Record):
    """A prompt of an intervention: of the run (with its id), or given as text."""

    prompt_id: Name | None = None
    text: Text
    tokens: list[Name]
    token_ids: list[Count]
    answer_id: Count | None = None
    answer: Name | None = None


class Cell(Record):
    """One changed activation. `role` says which position it is: `entity`, `last`, or counted from one of them."""

    layer: Count
    neuron: Count
    pos: Count
    role: Label = ""
    act: float
    value: float
    delta_norm: float
    predicted: Number = None


class CurveRow(Record):
    """After the first `k` cells: the difference, the change that attribution predicted, and both answers."""

    k: Count
    difference: float
    predicted: float
    source_probability: float
    destination_probability: float
    source_rank: Count
    destination_rank: Count


class BandRow(Record):
    """Change of the difference by random sets of `k` cells of the same norms: mean, 5th and 95th percentile."""

    k: Count
    n: Count
    mean: float
    low: float
    high: float
    most: float


class ExactEdit(Record):
    """What anybody needs to repeat an edit: set this activation (`hook_post`) to `value`."""

    layer: Count
    neuron: Count
    pos: Count
    value: float


class SwapPair(Record):
    """One destination and one source. `before` and `after` are (source's answer, destination's answer); `after` is at
    `k` cells: the fewest that make the source's answer the most likely token, or all tried if none do."""

    id: Name
    destination: PromptText
    source: PromptText
    target_pos: Count
    held_out: bool = False
    roles: dict[Label, Positions] = {}
    """Position in the destination and in the source of each role."""
    smallest_k: Count | None
    k: Count
    n_candidates: Count
    before: Answers
    after: Answers
    top_before: list[Answer] = []
    top_after: list[Answer] = []
    """The most likely tokens before and after."""
    difference_before: float
    difference_after: float
    predicted: float
    """Change of the difference that attribution predicted for `k` cells."""
    cells: list[Cell] = []
    edits: list[ExactEdit] = []
    curve: list[CurveRow] = []
    band: list[BandRow] = []
    controls: Controls | None = None
    side_effects: SideEffects | None = None
    verdict: Label = ""


class ShareRow(Record):
    """Share of pairs flipped by the first `k` cells, with a 95 % bootstrap interval over pairs."""

    k: Count
    share: float
    low: float
    high: float


class SharedCell(Record):
    """A neuron at a role, chosen over all selection pairs; `predicted` is the mean over them."""

    layer: Count
    neuron: Count
    role: Label
    predicted: float


class SharedList(Record):
    """One list of neurons for all pairs, chosen on the selection pairs and tested on the held-out ones."""

    cells: list[SharedCell]
    selection: list[ShareRow]
    held_out: list[ShareRow] = []
    n_selection: Count
    n_held_out: Count = 0
    chosen_k: Count
    """The size of the whole list, which was set on the selection pairs alone."""
    fewest_k: Count
    """The smallest size at which the selection's share is the largest."""
    held_out_median_k: Number = None
    held_out_smallest_k: list[Count | None] = []
    held_out_random: list[ShareRow] = []
    """Share of held-out pairs flipped by random sets of the same size and norm."""
    side_effects: SideEffects | None = None
    """Of the first `chosen_k` cells with the values of the first held-out pair."""


class SwapSummary(Record):
    """Over all pairs with a list of their own."""

    n_pairs: Count
    n_flipped: Count
    share: float
    share_low: float
    share_high: float
    median_k: Number
    median_k_low: Number = None
    median_k_high: Number = None
    flipped_by_k: list[ShareRow] = []
    n_random_beaten: Count = 0
    """Pairs whose random sets have p ≤ .05."""


class SwapRecord(StageRecord):
    """`swap_*.json`."""

    pairs: list[SwapPair]
    summary: SwapSummary | None = None
    shared: SharedList | None = None
    verdict: Label = ""


class EffectRecord(StageRecord):
    """`effect_*.json`: neurons changed one by one (the table) and as one set."""

    prompt: PromptText
    target: TargetRecord
    kind: Label
    value: Label
    """What the new activations are, in words."""
    positions: list[Count]
    n_neurons: Count
    clean: Prediction
    as_set: Prediction | None = None
    """None for a screening, which has no set."""
    observed: Number = None
    """Effect of the set on the target function."""
    controls: Controls | None = None
    side_effects: SideEffects | None = None
    cells: list[Cell] = []
    verdict: Label = ""


class Dose(Record):
    """One amount. `text` continues the prompt; `perplexity` is that of the text under the clean model."""

    alpha: float
    prediction: Prediction
    text: Text = ""
    perplexity: Number = None
    null: Null | None = None


class SteerRecord(StageRecord):
    """`steer_*.json`."""

    prompt: PromptText
    target: TargetRecord
    what: Label
    """What is steered: neurons, or a direction."""
    unit: Label
    """What alpha 1 is."""
    doses: list[Dose]
    """In ascending order; alpha 0 is the unsteered model."""
    monotone: bool
    spearman: Number
    turns_at: Number = None
    """The amount after which the response reverses, if it does."""
    breaks_below: Number = None
    breaks_above: Number = None
    """The amounts nearest to 0 at which the text breaks, if it does."""
    break_factor: float = Field(gt=0)
    side_effects: SideEffects | None = None
    verdict: Label = ""
