"""Controls and side effects of an edit as table rows."""

from __future__ import annotations

from neuron_signatures.runs.intervention_records import Controls, Null, SideEffects, WrongSource
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.interventions.sheets import (
    Sheet,
    Value,
    columns,
    counted,
    signed_text,
    size_text,
)


def controls_sheet(controls: Controls) -> Sheet:
    """The observed change of the target function, then one row per control."""
    rows: list[list[Value]] = [["this edit", controls.observed, *[None] * 8]]
    rows += [_null(n) for n in (controls.random, controls.scrambled, controls.permuted) if n is not None]
    if controls.negative is not None:
        rows.append(["changes with the opposite sign", controls.negative, *[None] * 8])
    if controls.wrong_source is not None:
        what = f"wrong source: {visible(controls.wrong_source.answer)}"
        rows.append([what, controls.wrong_source.difference, *[None] * 8])
    least = "|change| at least" if controls.two_sided else "change at least"
    shown = columns(
        ("control", "text"),
        (
            "change",
            "signed",
            "Of the target function, for a swap of the logit difference; the mean of random sets.",
        ),
        ("p", "p", f"(1 + sets with a {least} that large) / (1 + sets)."),
        ("sets", "count", "Random sets drawn."),
        ("5 %", "signed"),
        ("95 %", "signed"),
        ("spread", "size", "Standard deviation of the random sets."),
        ("largest", "signed"),
        ("exceeded", "count", f"Random sets with a {least} that of this edit."),
        (
            "flipped",
            "count",
            "Random sets that change whether the target, or the source's answer, is most likely.",
        ),
    )
    return Sheet("Controls", shown, rows).without_empty()


def control_lines(controls: Controls) -> list[str]:
    """Sentences on the wrong source, and on controls that are not there."""
    found = [] if controls.wrong_source is None else [_wrong_source(controls.wrong_source)]
    return [*found, *(f"Left out: {brief(why)}" for why in controls.left_out)]


def side_effect_lines(side: SideEffects) -> list[tuple[str, str]]:
    """Label and text of the side effects on prompts that have nothing to do with the target."""
    kl = f"mean {size_text(side.kl_mean)}, median {size_text(side.kl_median)}, largest {size_text(side.kl_max)} nats"
    rows = [("KL", f"{kl} on {counted(side.n_prompts, 'neutral prompt')}")]
    if (random := side.random) is not None:
        between = f"[{size_text(random.kl_low)}, {size_text(random.kl_high)}]"
        rows.append(
            ("KL, random", f"mean {size_text(random.kl_mean)} {between} of {counted(random.n_sets, 'random set')}")
        )
    known = f"{side.facts_before} → {side.facts_after} of {side.facts} are the most likely token"
    return [
        *rows,
        ("top token", f"changes on {side.n_top_changed} of {counted(side.n_prompts, 'prompt')}"),
        *([("known facts", known)] if side.facts else []),
        ("perplexity", f"{size_text(side.perplexity_before)} → {size_text(side.perplexity_after)} on "
                       f"{counted(side.n_tokens, 'token')} of held-out text"),
    ]  # fmt: skip


def neutral_sheet(side: SideEffects) -> Sheet:
    """The neutral prompts, most changed first."""
    rows: list[list[Value]] = [
        [p.kl, visible(p.top_before), p.probability_before, p.probability_after, visible(p.top_after), brief(p.text)]
        for p in sorted(side.prompts, key=lambda p: -p.kl)
    ]
    shown = columns(
        ("KL", "size", "Nats."), ("top before", "text"), ("p before", "share"),
        ("p after", "share", "Of the token that was the most likely one before."), ("top after", "text"),
        ("prompt", "text"),
    )  # fmt: skip
    return Sheet("Neutral prompts, most changed first", shown, rows)


def _null(n: Null) -> list[Value]:
    return [brief(n.what), n.mean, n.p, n.n, n.low, n.high, n.std, n.most, n.exceeded, n.n_flipped]


def _wrong_source(w: WrongSource) -> str:
    own = "never flips to it" if w.own_smallest_k is None else f"flips to it with {counted(w.own_smallest_k, 'cell')}"
    return (
        f"Wrong source “{brief(w.text)}”, chosen in the same way, {counted(w.k, 'cell')}: its own answer "
        f"{visible(w.answer)} {signed_text(w.own_logit)}, the right source's answer {signed_text(w.source_logit)} "
        f"(logits); its own difference {signed_text(w.own)}; {own}."
    )
