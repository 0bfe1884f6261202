"""Titles, verdicts and settings of interventions in plain words. Text from data is escaped."""

from __future__ import annotations

from neuron_signatures.runs.intervention_records import (
    EffectRecord,
    PromptText,
    SteerRecord,
    SwapPair,
    SwapRecord,
)
from neuron_signatures.runs.result_records import TargetRecord
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.interventions.sheets import counted, signed_text, size_text

InterventionRecord = SwapRecord | EffectRecord | SteerRecord
_LONGEST = 60


def title(record: InterventionRecord) -> str:
    """What was edited in which prompt, and what it was measured on."""
    if isinstance(record, SwapRecord):
        return f"swap: {_swap_title(record)}"
    where = f"{target_text(record.target)} after {prompt_name(record.prompt)} at {record.target.pos}"
    if isinstance(record, EffectRecord):
        return f"effect: {brief(record.kind)} {counted(record.n_neurons, 'neuron')} → {where}"
    return f"steer: {brief(record.what)} → {where}"


def verdict(record: InterventionRecord) -> str:
    """The sentence that the record has, else the main numbers."""
    if record.verdict:
        return brief(record.verdict)
    if isinstance(record, SwapRecord):
        flipped = sum(p.smallest_k is not None for p in record.pairs)
        return (
            pair_verdict(record.pairs[0])
            if len(record.pairs) == 1
            else f"{flipped} of {counted(len(record.pairs), 'pair')} flipped."
        )
    if isinstance(record, EffectRecord):
        return "" if record.observed is None else f"Effect of the set on the target: {signed_text(record.observed)}."
    return "The response is monotone." if record.monotone else f"The response is not monotone{turn_text(record)}."


def pair_verdict(pair: SwapPair) -> str:
    if pair.verdict:
        return brief(pair.verdict)
    change = f"difference {signed_text(pair.difference_before)} → {signed_text(pair.difference_after)}"
    if pair.smallest_k is None:
        return f"Does not flip with all {counted(pair.k, 'cell')} tried: {change}."
    return f"Flips with {counted(pair.smallest_k, 'cell')}: {change}."


def pair_title(pair: SwapPair) -> str:
    """Both answers, such as `·Austin → ·Sacramento`."""
    return f"{visible(pair.destination.answer or '?')} → {visible(pair.source.answer or '?')}"


def prompt_name(prompt: PromptText) -> str:
    """The id of a prompt of the run, or the beginning of its text."""
    if prompt.prompt_id is not None:
        return brief(prompt.prompt_id)
    text = brief(prompt.text)
    return f"“{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}”"


def target_text(target: TargetRecord) -> str:
    """`·Austin`, or `·Austin - ·Sacramento`."""
    foil = f" - {visible(target.foil.token)}" if target.foil else ""
    return f"{visible(target.token.token)}{foil}"


def difference_name(target: TargetRecord) -> str:
    """What `difference` is for a target."""
    return "logit difference" if target.foil else "logit"


def turn_text(record: SteerRecord) -> str:
    return "" if record.turns_at is None else f": it reverses after alpha = {record.turns_at:g}"


def break_text(record: SteerRecord) -> str:
    """Where the text breaks."""
    ends = [("below", record.breaks_below), ("above", record.breaks_above)]
    where = [f"at alpha = {alpha:g} and {side}" for side, alpha in ends if alpha is not None]
    rule = f"perplexity more than {record.break_factor:g} times the unsteered one"
    return f"breaks {', '.join(where)} ({rule})" if where else f"does not break ({rule})"


def settings(record: InterventionRecord) -> list[tuple[str, str]]:
    """Label and text: what was edited, where, and when it was made."""
    made = ("made", f"{brief(record.created_at_utc)} by {brief(record.stage)} --mode {brief(record.mode)}")
    if isinstance(record, SwapRecord):
        return [made]
    target = record.target
    asked = f"{target_text(target)} at position {target.pos}: {brief(target.function)} {size_text(target.value)}"
    prompt = ("prompt", f"{prompt_name(record.prompt)}  {brief(record.prompt.text)}")
    if isinstance(record, EffectRecord):
        at = ", ".join(map(str, record.positions[:20])) + (" …" if len(record.positions) > 20 else "")
        edit = f"{brief(record.kind)} {counted(record.n_neurons, 'neuron')}; new activations: {brief(record.value)}"
        return [prompt, ("target", asked), ("edit", edit), ("positions", at), made]
    how = "monotone" if record.monotone else f"not monotone{turn_text(record)}"
    spearman = "" if record.spearman is None else f", Spearman {record.spearman:.2f} with alpha"
    return [
        prompt,
        ("target", asked),
        ("edit", f"{brief(record.what)}; alpha = 1 is {brief(record.unit)}"),
        ("response", f"{how}{spearman}"),
        ("text", break_text(record)),
        made,
    ]


def pair_settings(pair: SwapPair) -> list[tuple[str, str]]:
    """Label and text: both prompts, the positions, and how much was changed."""
    roles = ", ".join(f"{brief(name)} {at[0]} ← {at[1]}" for name, at in list(pair.roles.items())[:12])
    tried = f"{counted(pair.k, 'cell')} set, of {counted(pair.n_candidates, 'candidate')}"
    after = f"{tried}; difference {signed_text(pair.difference_before)} → {signed_text(pair.difference_after)}"
    rows = [
        ("destination", f"{brief(pair.destination.text)} → {visible(pair.destination.answer or '?')}"),
        ("source", f"{brief(pair.source.text)} → {visible(pair.source.answer or '?')}"),
        ("positions", f"{roles}; read at {pair.target_pos}" if roles else f"read at {pair.target_pos}"),
        ("edit", f"{after}, predicted {signed_text(pair.difference_before + pair.predicted)}"),
    ]
    return [*rows, ("held out", "not among the pairs that the shared list was chosen on")] if pair.held_out else rows


def _swap_title(record: SwapRecord) -> str:
    n = len(record.pairs)
    if n != 1:
        flipped = sum(p.smallest_k is not None for p in record.pairs)
        return f"{counted(n, 'pair')}, {flipped} flipped"
    pair = record.pairs[0]
    k = "not flipped" if pair.smallest_k is None else f"flipped by {counted(pair.smallest_k, 'cell')}"
    return f"{pair_title(pair)} after {prompt_name(pair.destination)}, {k}"
