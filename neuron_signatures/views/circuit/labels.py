"""Names of nodes and heads for display: short on a canvas, full in a panel. Text from data is escaped for display,
not for HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from neuron_signatures.runs.circuits.graph import Graph, HeadShare, Node, NodeKind, Prompt
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.shown import Item
from neuron_signatures.views.interventions.sheets import share_text, signed_text

KIND_WORDS: Final[dict[NodeKind, str]] = {
    "neuron": "neurons", "embedding": "embeddings of tokens", "rest": "rest nodes", "constant": "constant",
    "target": "target",
}  # fmt: skip


SecondLine = Literal["label", "promotes"]
"""What stands below a neuron's name: what it stands for, or the tokens that it promotes."""
_BEGINNINGS = (("fires on ", ""), ("perhaps promotes ", "→ "), ("promotes ", "→ "))
_EVIDENCE: Final = re.compile(r" \(precision [^()]*\)$")


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
    return "" if item.is_group else promoted(item.node)


def promoted(node: Node) -> str:
    """The tokens that a neuron promotes most."""
    return " ".join(visible(t) for t in node.promotes[:5])


def canvas_texts(item: Item, longest: int, second: SecondLine = "label") -> tuple[str, str]:
    """Both lines on the canvas, of at most `longest` characters each; the second may be empty."""
    if item.is_group:
        return cut(brief(item.label) or "group", longest), canvas_name(item)
    if item.kind == "target":
        return cut(canvas_name(item), longest), "target"
    said = short_said(item, second) if item.kind == "neuron" else ""
    return cut(canvas_name(item), longest + (item.kind == "neuron")), cut(said, longest)


def short_said(item: Item, second: SecondLine = "label") -> str:
    """As `said_of`, or the promoted tokens if they are known. Words with which many labels begin are left out:
    `·Albany, …` fires on these tokens, `→ ·Austin …` promotes them."""
    text = promoted(item.node) if second == "promotes" and item.node.promotes else without_evidence(said_of(item))
    for words, mark in _BEGINNINGS:
        if text.startswith(words):
            return mark + text[len(words) :]
    return text if text == without_evidence(brief(item.label)) or not text else f"→ {text}"


def without_evidence(label: str) -> str:
    """A label without the figures of its rule: `fires on ·is` of `fires on ·is (precision .14, recall .49)`."""
    return _EVIDENCE.sub("", label)


def score_of(item: Item) -> float | None:
    """Its score; of a group, the sum of those that are defined."""
    scores = [n.score for n in item.nodes if n.score is not None]
    return sum(scores) if scores else None


def mark_of(item: Item) -> str:
    """`▲` for what supports the target, `▼` for what opposes it, by the sign of the score; else nothing."""
    score = score_of(item)
    return "" if not score or item.kind == "target" else "▲" if score > 0 else "▼"


def item_lines(item: Item, prompt: Prompt, group_names: Mapping[str, str] | None = None) -> list[str]:
    """What a canvas says of an item on hover, and to a screen reader."""
    if item.is_group:
        names = [node_name(n, prompt) for n in item.nodes[:8]]
        more = [f"and {len(item.nodes) - 8} more"] if len(item.nodes) > 8 else []
        return [f"group {brief(item.label) or 'without a name'}", f"{len(item.nodes)} nodes", *names, *more]
    node, names_of = item.node, group_names or {}
    lines = [f"target {node_name(node, prompt)}" if node.kind == "target" else node_name(node, prompt)]
    lines += [cut(brief(item.label), 160)] if item.label else []
    lines += [f"promotes {cut(promoted(node), 160)}"] if node.promotes else []
    lines += _number_lines(node)
    lines += [f"in group {brief(names_of[item.group])}"] if item.group in names_of else []
    return [*lines, *(["pinned"] if item.pinned else [])]


def _number_lines(node: Node) -> list[str]:
    out = []
    if node.activation is not None:
        reference = "" if node.reference is None else f", reference {signed_text(node.reference)}"
        out.append(f"{'value' if node.kind == 'target' else 'act'} {signed_text(node.activation)}{reference}")
    if node.score is not None:
        out.append(f"relevance {signed_text(node.score)} logits")
    if node.effect is not None:
        measured = "" if node.measured is None else f", measured {signed_text(node.measured)}"
        out.append(f"total effect {signed_text(node.effect)} logits{measured}")
    if node.influence is not None and node.kind != "target":
        out.append(f"within {share_text(node.influence)} of the influence")
    return out


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
