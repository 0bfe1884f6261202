"""A rule in words."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.tokens import visible

MOST_SHOWN = 12
"""Words that the sentence names; it says how many more there are. The rule has them all."""
_MOST_CHARACTERS = 40
"""Of an n-gram in the sentence."""
_MARKS_OF_THE_SENTENCE = frozenset(",.;:()")


def describe(rule: Rule) -> str:
    """One plain sentence, such as `fires on ·Austin, ·self (also self) (precision .93, recall .81 on explain)`.

    N-grams come in the order of the rule, the most useful first; those that differ in spaces around them and in case
    only are named together. Only printable characters: `·` is a space, `⏎` a line break, others are escaped. N-grams
    with marks that the sentence itself uses, such as a comma, are in quotation marks.
    """
    groups = _variants(rule.ngrams)
    named = ", ".join(_group(group) for group in groups[:MOST_SHOWN])
    more = f" and {len(groups) - MOST_SHOWN} more" if len(groups) > MOST_SHOWN else ""
    return f"fires on {named}{more} (precision {_share(rule.precision)}, recall {_share(rule.recall)} on explain)"


def _variants(ngrams: Sequence[Sequence[str]]) -> list[list[str]]:
    """N-grams as texts, grouped by what they are without case and outer spaces, in the order of each first one."""
    groups: dict[str, list[str]] = {}
    for ngram in ngrams:
        text = "".join(ngram)
        key = text.strip(" ").casefold() or text
        groups.setdefault(key, []).append("".join(visible(token) for token in ngram))
    return [list(dict.fromkeys(group)) for group in groups.values()]


def _group(variants: list[str]) -> str:
    shown = [_quoted(v if len(v) <= _MOST_CHARACTERS else f"{v[:_MOST_CHARACTERS]}…") for v in variants]
    return shown[0] if len(shown) == 1 else f"{shown[0]} (also {', '.join(shown[1:])})"


def _quoted(ngram: str) -> str:
    """In quotation marks if the n-gram could be read as part of the sentence."""
    return f"“{ngram}”" if _MARKS_OF_THE_SENTENCE & set(ngram) else ngram


def _share(value: float | None) -> str:
    """Two decimals without the zero in front."""
    return "undefined" if value is None else f"{value:.2f}".removeprefix("0")
