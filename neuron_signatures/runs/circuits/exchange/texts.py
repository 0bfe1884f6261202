"""Texts and numbers of the attribution-graph JSON: labels that a web page may show, and the numbers of features."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.tokens import MAX_SHOWN, escape

_MARKS: Final = str.maketrans("\n\t\r", "⏎⇥␍")
_NO_HTML: Final = str.maketrans("<>", "\u2039\u203a")  # some viewers insert labels as HTML
_PROMOTES: Final = "promotes "  # how a label begins that names these tokens
_SHOWN_TOKENS: Final = 5
_TOKEN_LENGTH: Final = 40
_PROBABILITY: Final = re.compile(r"\(p=([0-9.eE+-]{1,40})\)\s*$")
_TOKEN: Final = re.compile(r'^[^"]{0,40}"(.*)"\s*\(p=[^()]*\)\s*$', re.DOTALL)


class LogitLabel(NamedTuple):
    token: str
    probability: float | None
    """None if the label names none."""


def shown(text: str, most: int = MAX_SHOWN) -> str:
    """`text` as any viewer may show it: no control characters, angle quotes for `<` and `>`, the first characters."""
    short = text if len(text) <= most else f"{text[:most]}…"
    return escape(short.translate(_MARKS)).translate(_NO_HTML)


def label_of(node: Node, graph: Graph) -> str:
    """The node's `clerp`: what viewers show for it."""
    at = shown(graph.prompt.tokens[node.pos], _TOKEN_LENGTH) if node.pos >= 0 else ""
    match node.kind:
        case "neuron":
            tokens = ", ".join(shown(t, _TOKEN_LENGTH).strip() for t in node.promotes[:_SHOWN_TOKENS])
            text = f"{node.name}{sign_of(node)}"
            text = f"{shown(node.label)} ({text})" if node.label else text
            return text if not tokens or node.label.startswith(_PROMOTES) else f"{text} → {tokens}"
        case "embedding":
            return f"Emb: “{at}”"
        case "rest":
            return f"Rest of layer {node.layer} at “{at}”: unselected neurons and biases"
        case "constant":
            return "Constant: the references of all neurons"
        case "target":
            return _logit_label(graph)


def sign_of(node: Node) -> str:
    """`+` or `-`: the side of its reference on which the neuron is; empty if it is unknown or there."""
    change = (node.activation or 0.0) - (node.reference or 0.0)
    return "+" if change > 0 else "-" if change < 0 else ""


def read_logit_label(label: str) -> LogitLabel:
    """The token and probability in a logit's `clerp`, such as `Output " Austin" (p=0.750)`."""
    probability = _PROBABILITY.search(label)
    token = _TOKEN.match(label)
    try:
        p = None if probability is None else float(probability[1])
    except ValueError:
        p = None
    return LogitLabel(label if token is None else token[1], p if p is not None and 0 <= p <= 1 else None)


def cantor_pair(layer: int, index: int) -> int:
    """The number of a feature in the format; the local viewer computes with it up to 2^50."""
    return (layer + index) * (layer + index + 1) // 2 + index


def cantor_unpair(number: int) -> tuple[int, int]:
    """Layer and index of a feature. Raises `ValueError` for a negative number."""
    total = (math.isqrt(8 * number + 1) - 1) // 2
    index = number - total * (total + 1) // 2
    return total - index, index


def _logit_label(graph: Graph) -> str:
    """Viewers read the text between the first two quotation marks, and the number after the first `(p=`: 0 if it is not
    known."""
    prompt = graph.prompt
    token, foil = (_quoted(text) for text in (prompt.target, prompt.foil or ""))
    versus = "" if prompt.foil is None else f' minus "{foil}"'
    return f'Output "{token}"{versus} (p={prompt.target_probability or 0.0:.3f})'


def _quoted(token: str) -> str:
    return shown(token, _TOKEN_LENGTH).replace('"', "”").replace("(p=", "(p =")
