"""Answers of the server as tables. Tokens are shown with visible edges; undefined numbers are empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neuron_signatures.api.live import (
    ActivationsAnswer,
    Chance,
    InfluenceAnswer,
    InterveneAnswer,
    NextTokenAnswer,
    Token,
)
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.sheets import Kind, Sheet, Value, columns

Describe = Callable[[NeuronAt, bool], Sequence[str]]
"""What the run says of a neuron with this sign (True: negative): one text for each of `SAID`."""
SAID = ("explanation (run)", "promotes (run)", "fires on (run)")
_SAID_HELP = (
    "From the run, at this sign of the activation: the explanation to read.",
    "From the run, at this sign of the activation: the tokens whose logits it raises most.",
    "From the run, at this sign of the activation: its signature, or its peak tokens.",
)


def prediction_sheet(answer: NextTokenAnswer) -> Sheet:
    """The most likely next tokens, then those that were asked for and are not among them."""
    known = {c.token_id for c in answer.top}
    rows = [_chance(c) for c in (*answer.top, *(a for a in answer.asked if a.token_id not in known))]
    return Sheet("Next token", columns(*_CHANCE), rows)


_CHANCE: tuple[tuple[str, Kind, str], ...] = (
    ("rank", "count", "0 is the most likely token."),
    ("token", "text", "· is a space, ⏎ a line break."),
    ("probability", "share", "Of the whole vocabulary, after the soft cap if the model has one."),
    ("logit", "signed", "After the soft cap if the model has one."),
    ("log p", "signed", "Natural logarithm of the probability."),
)


def _chance(c: Chance) -> list[Value]:
    return [c.rank, visible(c.token), c.prob, c.logit, c.log_prob]


def firing_sheet(answer: ActivationsAnswer, pos: int, describe: Describe) -> Sheet:
    """The strongest neurons at one position, strongest first."""
    rows: list[list[Value]] = []
    neurons: list[NeuronAt] = []
    for top in answer.top:
        if top.pos != pos:
            continue
        at = NeuronAt(top.layer, top.neuron)
        neurons.append(at)
        rows.append([_pole(at, top.act), top.act, top.z, *describe(at, top.act < 0)])
    shown = columns(
        ("neuron", "text", "Click a cell of the row to look at the neuron. + or -: the sign of its activation."),
        ("act", "signed", "Live activation at this position, blocks.L.mlp.hook_post, in the model's own units."),
        ("z", "signed", "(act - mean) / std; mean and std are over tokens of the run."),
        *((name, "text", help) for name, help in zip(SAID, _SAID_HELP, strict=True)),
    )  # fmt: skip
    return Sheet("", shown, rows, neurons).without_empty()


def influence_sheet(answer: InfluenceAnswer, describe: Describe) -> Sheet:
    """Neurons by |influence| on the target."""
    rows: list[list[Value]] = [
        [_pole(NeuronAt(r.layer, r.neuron), r.act), r.influence, f"{r.pos} {visible(answer.tokens[r.pos].token)}",
         r.act, r.reference, *describe(NeuronAt(r.layer, r.neuron), r.act < 0)]
        for r in answer.rows
    ]  # fmt: skip
    shown = columns(
        ("neuron", "text", "Click a cell of the row to look at the neuron. + or -: the sign of its activation."),
        ("influence", "signed", "In logits of the target. Positive: the activation, rather than the reference, "
                                "supports the target."),
        ("at", "text", "Position and token."),
        ("act", "signed", "Live activation there."),
        ("reference", "signed", "The activation that the influence is relative to."),
        *((name, "text", help) for name, help in zip(SAID, _SAID_HELP, strict=True)),
    )  # fmt: skip
    return Sheet("", shown, rows, [NeuronAt(r.layer, r.neuron) for r in answer.rows]).without_empty()


def change_sheet(answer: InterveneAnswer, n: int = 10) -> Sheet:
    """The `n` most likely tokens of either prediction, with both probabilities side by side.

    A probability is undefined where the token is not among those that the server listed.
    """
    before, after = ({c.token_id: c for c in side} for side in (answer.top_before, answer.top_after))
    for side, found in ((answer.before, before), (answer.after, after)):
        for c in (side.target, side.foil):
            if c is not None:
                found.setdefault(c.token_id, c)
    ids = dict.fromkeys(c.token_id for c in (*answer.top_before[:n], *answer.top_after[:n]))
    rows = [_changed(before.get(i), after.get(i)) for i in ids]
    shown = columns(
        ("token", "text", "· is a space, ⏎ a line break."),
        ("before", "share", "Probability without the edit."),
        ("after", "share", "Probability with the edit."),
        ("Δ log p", "signed", "Natural logarithm of after / before, in nats."),
        ("Δ logit", "signed", "After the soft cap if the model has one."),
        ("rank before", "count", "0 is the most likely token."),
        ("rank after", "count", "0 is the most likely token."),
    )
    return Sheet("", shown, rows)


def _changed(b: Chance | None, a: Chance | None) -> list[Value]:
    token = (b or a).token  # type: ignore[union-attr]
    both = b is not None and a is not None
    return [
        visible(token), None if b is None else b.prob, None if a is None else a.prob,
        a.log_prob - b.log_prob if both else None, a.logit - b.logit if both else None,  # type: ignore[union-attr]
        None if b is None else b.rank, None if a is None else a.rank,
    ]  # fmt: skip


def _pole(at: NeuronAt, act: float) -> str:
    return f"{at.label}{'-' if act < 0 else '+'}"


def tokens_of(tokens: Sequence[Token]) -> list[str]:
    return [t.token for t in tokens]
