"""Names of nodes and heads for display: short on a canvas, full in a panel. Text from data is escaped for display,
not for HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from neuron_signatures.runs.circuits.graph import Graph, HeadShare, Node, NodeKind, Prompt
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.shown import Item

KIND_WORDS: Final[dict[NodeKind, str]] = {
    "neuron": "neurons", "embedding": "embeddings of tokens", "rest": "rest nodes", "constant": "constant",
    "target": "target",
}  # fmt: skip


def sign_of(node: Node) -> str:
    """`+` or `-`: the sign of a neuron's activation minus its reference; empty if undefined or 0."""
    if node.kind != "neuron" or node.activation is None:
        return ""
    moved = node.activation - (node.reference or 0.0)
    return "+" if moved > 0 else "-" if moved < 0 else ""


def node_name(node: Node, prompt: Prompt) -> str:
    """`L3N508+ at 4 ·Dallas`, `embedding of 4 ·Dallas`, `rest of layer 2 at 4 ·Dallas`, `constant`, or the target."""
    if node.kind == "constant":
        return "constant"
    if node.kind == "target":
        return target_name(prompt)
    where = position_name(prompt, node.pos)
    if node.kind == "embedding":
        return f"embedding of {where}"
    return f"rest of layer {node.layer} at {where}" if node.kind == "rest" else f"{node.name}{sign_of(node)} at {where}"


def target_name(prompt: Prompt) -> str:
    """`·Austin`, or `·Austin - ·Dallas` with a foil."""
    target = visible(prompt.target)
    return target if prompt.foil is None else f"{target} - {visible(prompt.foil)}"


def position_name(prompt: Prompt, pos: int) -> str:
    """`4 ·Dallas`; the number alone if the prompt has no such token."""
    return f"{pos} {visible(prompt.tokens[pos])}" if 0 <= pos < len(prompt.tokens) else str(pos)


def canvas_name(item: Item) -> str:
    """The first line on the canvas: `L3N508+`, the token of an embedding or target, `rest`, `group of 3`."""
    node = item.node
    if item.is_group:
        return f"group of {len(item.nodes)}"
    if node.kind == "neuron":
        return f"{node.name}{sign_of(node)}"
    return visible(node.token) if node.kind in ("embedding", "target") else node.kind


def said_of(item: Item) -> str:
    """What the item stands for: the label, else the tokens that it promotes; empty if unknown."""
    if item.label:
        return brief(item.label)
    return "" if item.is_group else " ".join(visible(t) for t in item.node.promotes[:5])


def cut(text: str, longest: int) -> str:
    """An escaped text of at most `longest` characters; `…` marks that there are more."""
    return text if len(text) <= longest else f"{text[: max(0, longest - 1)]}…"


def head_names(heads: Sequence[HeadShare], n: int = 4) -> str:
    """`L2H1 +0.31, L3H0 -0.05`; the strongest `n`."""
    more = f" and {len(heads) - n} more" if len(heads) > n else ""
    return ", ".join(f"L{h.layer}H{h.head} {h.weight:+.3g}" for h in heads[:n]) + more


def layers_of(graph: Graph) -> range:
    """Rows of the canvas: -1 for embeddings up to the target's."""
    return range(-1, graph.n_layers + 1)
