"""Nodes as spans: name, position, token, group and label, all escaped."""

from __future__ import annotations

from neuron_signatures.runs.circuits.graph import Node, Prompt
from neuron_signatures.runs.tokens import fit
from neuron_signatures.tui.layout.text import Line, Span, beginning, line, line_text, number, safe, token_text, width
from neuron_signatures.views.circuit.labels import head_names, sign_of
from neuron_signatures.views.circuit.opened import OpenedCircuit
from neuron_signatures.views.circuit.tree import LineKind, TreeRow

_SEVERAL: dict[LineKind, str] = {
    "hidden": "{} weaker edges", "rest": "rest nodes ({}): neurons outside the graph, biases",
    "constant": "constant: the references of all neurons", "pruned": "edges that were pruned",
}  # fmt: skip
_PINNED = "*"
_LONGEST = 16
"""Columns of a token beside a node's name."""


def node_spans(opened: OpenedCircuit, node: Node) -> Line:
    """`L3N508+ 4 ·Dallas [Texas] label`; a pinned node has `*` after its name."""
    pin = Span(_PINNED, "mark") if node.id in opened.groups.pinned else Span("")
    return line(Span(short_name(node), "title"), pin, Span(" "), *place_spans(opened.prompt, node), *said(opened, node))


def short_name(node: Node) -> str:
    """`L3N508+`, `token`, `rest L3`, `constant`, `answer`."""
    if node.kind == "neuron":
        return f"L{node.layer}N{node.neuron}{sign_of(node)}"
    if node.kind == "rest":
        return f"rest L{node.layer}"
    return {"embedding": "token", "constant": "constant", "target": "answer"}[node.kind]


def place_spans(prompt: Prompt, node: Node) -> Line:
    """Position and token; of the target, the token and the foil that are explained."""
    if node.kind == "target":
        foil = () if prompt.foil is None else (Span(" against ", "dim"), _token(prompt.foil))
        return line(_token(node.token or prompt.target), *foil)
    if node.kind == "constant":
        return ()
    token = prompt.tokens[node.pos] if 0 <= node.pos < len(prompt.tokens) else ""
    return line(Span(f"{node.pos} ", "dim"), _token(token))


def said(opened: OpenedCircuit, node: Node) -> Line:
    """The node's group in brackets, and what it stands for: its label, else the tokens that it promotes."""
    group = opened.group_of.get(node.id)
    parts = (Span(f" [{beginning(group.label) or safe(group.id)}]", "mark"),) if group is not None else ()
    text = beginning(node.label) if node.label else " ".join(token_text(t) for t in node.promotes[:5])
    return line(*parts, Span(f" {text}" if text else "", "dim"))


def words_line(opened: OpenedCircuit, node: Node) -> list[Line]:
    """What the node stands for, as a line of its own; none if that is not known."""
    words = said(opened, node)
    return [line(words[0]._replace(text=words[0].text.lstrip()), *words[1:])] if line_text(words) else []


def row_spans(opened: OpenedCircuit, row: TreeRow) -> Line:
    """What a row of the tree is, without its numbers."""
    if row.node is not None:
        return node_spans(opened, row.node)
    assert row.line is not None
    return line(Span(_SEVERAL[row.line.kind].format(row.line.n), "dim"))


def row_facts(opened: OpenedCircuit, row: TreeRow) -> list[Line]:
    """Everything about a row, in three lines: the node, its edge, and what it stands for."""
    node, edge = row.node, row.line
    if node is None:
        assert edge is not None and row.into is not None
        share = "" if edge.share is None else f", {percent(edge.share)} of Σ|E|"
        return [line(*row_spans(opened, row)), line(_into(opened, row.into), _signed("sum", edge.weight), share)]
    lines = [line(*_identity(opened, node), *_numbers(node))]
    if edge is not None and row.into is not None:
        share = f" ({percent(edge.share)} of Σ|E|)" if edge.share is not None else ""
        e = edge.edge
        total = () if e is None else (_signed("total", e.total), _signed("measured", e.measured))
        heads = f"  heads {head_names(e.heads)}" if e is not None and e.heads else ""
        lines.append(line(_into(opened, row.into), _signed("direct", edge.weight), share, *total, Span(heads, "dim")))
    elif node.kind == "target":
        lines.append(line(Span("its value is the sum of the lines below it, each with its sign", "dim")))
    return [*lines, *words_line(opened, node)]


def percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _token(token: str) -> Span:
    shown = token_text(token)
    return Span(shown if width(shown) <= _LONGEST else fit(shown, _LONGEST), "token")


def _identity(opened: OpenedCircuit, node: Node) -> Line:
    pin = Span(f"{_PINNED} pinned", "mark") if node.id in opened.groups.pinned else Span("")
    return line(Span(short_name(node), "title"), pin, Span(" "), *place_spans(opened.prompt, node))


def _numbers(node: Node) -> Line:
    if node.kind == "target":
        what = "logit difference" if node.incoming_abs is None else "value"
        return line(_signed(what, node.activation))
    reference = f" (reference {number(node.reference, 3)})" if node.reference is not None else ""
    act = (_signed("act", node.activation), Span(reference, "dim")) if node.activation is not None else ()
    return line(*act, _signed("score", node.score), _signed("effect", node.effect), _signed("measured", node.measured))


def _signed(what: str, value: float | None) -> Span:
    return Span("" if value is None else f"  {what} {number(value, 3)}")


def _into(opened: OpenedCircuit, node: Node) -> str:
    where = f" at {node.pos}" if node.kind == "neuron" else ""
    return f"into {short_name(node)}{where}"
