"""The filter of a circuit's nodes: the terms of ranked lists, and `#4` for a position."""

from __future__ import annotations

import re
from collections.abc import Callable

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.circuit.labels import sign_of
from neuron_signatures.views.circuit.opened import OpenedCircuit
from neuron_signatures.views.filters import Compare, Place, Text, matcher, parse

_POSITION = re.compile(r"(?<!\S)#(\d{1,6})(?!\S)", re.ASCII)
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def matching(opened: OpenedCircuit, query: str) -> list[Node]:
    """The nodes that match all terms, the largest |score| first. Raises `UsageError` for a term that cannot be one.

    `Texas`: in token, label, group or promoted tokens; `promotes:·Austin`; `L3`, `L3N508-`; `#4`; `>0.5` of the score.
    """
    terms = parse(_POSITION.sub(" ", query))
    positions = {int(m[1]) for m in _POSITION.finditer(query)}
    for t in terms:
        if isinstance(t, Text) and t.field not in ("any", "promotes"):
            raise UsageError(f"{t.field}: does not apply to nodes", next_step="Use words, promotes:, L3, #4 or >0.5")
    found = [
        n for n in opened.stored.graph.nodes
        if (not positions or n.pos in positions) and all(_fits(opened, n, t) for t in terms)
    ]  # fmt: skip
    return sorted(found, key=lambda n: -abs(n.score or 0.0))


def _fits(opened: OpenedCircuit, node: Node, term: Compare | Place | Text) -> bool:
    if isinstance(term, Compare):
        return node.score is not None and _COMPARED[term.sign](node.score, term.limit)
    if isinstance(term, Place):
        same = node.kind == "neuron" and node.layer == term.layer and term.neuron in (None, node.neuron)
        return same and term.pole in ("", sign_of(node))
    texts = list(node.promotes)
    if term.field == "any":
        group = opened.group_of.get(node.id)
        texts += [_token(opened, node), node.label, group.label if group else "", node.kind]
    return bool(matcher(term.pattern)(texts).any()) if texts else False


def _token(opened: OpenedCircuit, node: Node) -> str:
    tokens = opened.prompt.tokens
    return node.token or (tokens[node.pos] if 0 <= node.pos < len(tokens) else "")
