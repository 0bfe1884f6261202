"""What a swap of one pair shows, in sentences that need no other part of the report."""

from __future__ import annotations

from neuron_signatures.runs.intervention_records import Controls, SwapPair, SwapRecord, WrongSource
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.interventions.labels import InterventionRecord, pair_title, prompt_name, title, verdict
from neuron_signatures.views.interventions.sheets import cell_text, counted

MAX_P = 0.05
_LONGEST_SOURCE = 80


def intervention_words(record: InterventionRecord) -> list[str]:
    """The verdict as sentences: of a swap of one pair with random controls its numbers, else what is stored."""
    pair = _one_pair(record)
    words = [verdict(record)] if pair is None else _swap_words(pair)
    return [w for w in words if w]


def intervention_name(record: InterventionRecord) -> str:
    """What was edited, without the result, which `intervention_words` tells."""
    pair = _one_pair(record)
    return title(record) if pair is None else f"swap {pair_title(pair)} after {prompt_name(pair.destination)}"


def _one_pair(record: InterventionRecord) -> SwapPair | None:
    """The pair of a swap whose result is that of one pair, with random controls."""
    if not isinstance(record, SwapRecord) or len(record.pairs) != 1 or record.shared is not None:
        return None
    pair = record.pairs[0]
    return pair if pair.controls is not None and pair.controls.random is not None else None


def _swap_words(pair: SwapPair) -> list[str]:
    controls = pair.controls
    if controls is None:
        return []
    parts = [_effect(pair), _change(pair, controls), _beside_random(controls), _rivals(controls)]
    if controls.wrong_source is not None:
        parts.append(_wrong_source(controls.wrong_source, visible(pair.source.answer or "?")))
    return parts


def _effect(pair: SwapPair) -> str:
    """Whether the answer flips."""
    k, answer = pair.smallest_k or pair.k, visible(pair.source.answer or "?")
    once, many = ("makes", "make") if pair.smallest_k is not None else ("does not make", "do not make")
    does = once if k == 1 else many
    return f"{counted(k, 'changed cell')} (neurons at positions) {does} {answer} the most likely token."


def _change(pair: SwapPair, controls: Controls) -> str:
    """By how much the difference rises, beside random sets."""
    new, old = visible(pair.source.answer or "?"), visible(pair.destination.answer or "?")
    verb, by = ("raises", controls.observed) if controls.observed >= 0 else ("lowers", -controls.observed)
    own = f"The change {verb} the difference of the two logits ({new} minus {old}) by {_logits(by)}"
    random = controls.random
    if random is None:
        return f"{own}."
    ends = _ends(random.low, random.high)
    return f"{own}; {random.n:,} random sets of as many cells: {_logits(random.mean)}{ends}."


def _ends(low: float | None, high: float | None) -> str:
    """5th to 95th percentile, in brackets."""
    return "" if low is None or high is None else f" ({_logits(low)} to {_logits(high)} for 90 % of them)"


def _beside_random(controls: Controls) -> str:
    random = controls.random
    if random is None or random.p is None:
        return ""
    p = f"p {cell_text(random.p, 'p')}"
    if random.p > MAX_P:
        return f"Random sets do as much ({p}): no effect of these cells is shown."
    flipped = "" if random.n_flipped is None else f"{random.n_flipped:,} of the random sets flip the answer; "
    return f"{flipped}{p}."


def _rivals(controls: Controls) -> str:
    """Controls with the same changes elsewhere that do as much."""
    names = [
        name
        for name, null in (("at other positions", controls.scrambled), ("exchanged among the cells", controls.permuted))
        if null is not None and null.p is not None and null.p > MAX_P
    ]
    return f"But the same changes {' or '.join(names)} do as much." if names else ""


def _wrong_source(w: WrongSource, right: str) -> str:
    """Whether cells chosen for another source give the answer of that source."""
    text = w.text if len(w.text) <= _LONGEST_SOURCE else f"{w.text[: _LONGEST_SOURCE - 1]}…"
    own = visible(w.answer)
    chosen = f"{counted(w.k, 'cell')} chosen in the same way for another source (“{text}”)"
    numbers = f"{own} {_logits(w.own_logit, sign=True)} logits, {right} {_logits(w.source_logit, sign=True)}"
    if not (w.own_logit > w.source_logit and w.own_logit > 0):
        return f"A control fails: {chosen} do not raise that source's answer more ({numbers})."
    gives = w.own_smallest_k is not None and w.own_smallest_k <= w.k
    does = f"give that source's answer, {own}, and not {right}" if gives else \
           f"raise that source's answer, {own}, more than {right}"  # fmt: skip
    return f"As a control, {chosen} {does} ({numbers})."


def _logits(value: float | None, *, sign: bool = False) -> str:
    """With one decimal, two for values below 0.1; no minus before zero."""
    if value is None:
        return "undefined"
    digits = 1 if abs(value) >= 0.1 or value == 0 else 2
    shown = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return shown.lstrip("+-") if not float(shown) else shown
