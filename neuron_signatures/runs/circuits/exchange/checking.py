"""Checks of a graph whose author is unknown: that viewers can draw it and tables can hold it."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import Final

from neuron_signatures.runs.circuits.exchange.schema import MAX_INT, MAX_PROMPT, MAX_TEXT, MAX_TOKENS
from neuron_signatures.runs.circuits.graph import EMBEDDING_LAYER, Graph, Node
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import encodable

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:#+-]{0,199}")
_ID_RULE: Final = "letters, digits and ._:#+- only"
_MOST_PROMOTED: Final = 1000


def check_graph(graph: Graph, *, where: str) -> None:
    """Raise `UsageError` for the first node, edge or field that a graph of ours could not have.

    Ids are unique, and edges have nodes; that is checked before.
    """
    _check_prompt(graph, where)
    for i, node in enumerate(graph.nodes):
        _check_node(node, graph, f"{where}, nodes.{i}")
    if not any(node.kind == "target" for node in graph.nodes):
        raise UsageError("there is no logit node", where=f"{where}, nodes")
    edges = {(e.source, e.target) for e in graph.edges}
    if lost := next((h for h in graph.heads if (h.source, h.target) not in edges), None):
        what = f"heads are of an edge from {lost.source!a} to {lost.target!a}, which is not there"
        raise UsageError(what, where=f"{where}, neuron_signatures.heads")
    if wrong := next((h for h in graph.heads if not (0 <= h.layer < graph.n_layers and 0 <= h.head <= MAX_INT)), None):
        raise UsageError(
            f"there is no head {wrong.head} of layer {wrong.layer}", where=f"{where}, neuron_signatures.heads"
        )
    _refuse_cycles(graph, where)


def _check_prompt(graph: Graph, where: str) -> None:
    prompt, where = graph.prompt, f"{where}, prompt"
    if not 1 <= len(prompt.tokens) <= MAX_TOKENS or len(prompt.token_ids) != len(prompt.tokens):
        raise UsageError(f"has {len(prompt.tokens)} tokens and {len(prompt.token_ids)} ids", where=where)
    if not 0 <= prompt.target_pos < len(prompt.tokens):
        raise UsageError(f"target_pos {prompt.target_pos} is not in 0..{len(prompt.tokens) - 1}", where=where)
    ids = (*prompt.token_ids, prompt.target_id, -1 if prompt.foil_id is None else prompt.foil_id)
    if any(not -1 <= i <= MAX_INT for i in ids):
        raise UsageError("a token id is negative or too large", where=where)
    numbers = (prompt.target_probability, prompt.foil_probability, prompt.value)
    if any(n is not None and not math.isfinite(n) for n in numbers):
        raise UsageError("a number is not finite", where=where)
    _check_texts((*prompt.tokens, prompt.target, prompt.foil or "", prompt.prompt_id), where)
    _check_texts((prompt.text,), where, most=MAX_PROMPT)


def _check_node(node: Node, graph: Graph, where: str) -> None:
    if not ID.fullmatch(node.id):
        raise UsageError(f"node_id {node.id[:60]!a} is not allowed ({_ID_RULE})", where=where)
    low, high = _layers(node, graph.n_layers)
    if not low <= node.layer <= high:
        raise UsageError(f"layer {node.layer} of a {node.kind} is not in {low}..{high}", where=where)
    first = -1 if node.kind == "constant" else 0
    if not first <= node.pos < len(graph.prompt.tokens):
        raise UsageError(f"position {node.pos} is not in {first}..{len(graph.prompt.tokens) - 1}", where=where)
    if node.kind == "neuron" and node.neuron is None:
        raise UsageError("has no number of its neuron", where=where)
    if any(n is not None and not -1 <= n <= MAX_INT for n in (node.neuron, node.token_id)):
        raise UsageError(f"the number {node.neuron or node.token_id} is negative or too large", where=where)
    numbers = [v for v in vars(node).values() if isinstance(v, float)]
    if not all(map(math.isfinite, numbers)):
        raise UsageError("a number is not finite", where=where)
    if len(node.promotes) > _MOST_PROMOTED:
        raise UsageError(f"promotes {len(node.promotes)} tokens, at most {_MOST_PROMOTED} are read", where=where)
    _check_texts((node.label, node.token, *node.promotes), where)


def _layers(node: Node, n_layers: int) -> tuple[int, int]:
    match node.kind:
        case "embedding" | "constant":
            return EMBEDDING_LAYER, EMBEDDING_LAYER
        case "target":
            return n_layers, n_layers
        case _:
            return 0, n_layers - 1


def _check_texts(texts: tuple[str, ...], where: str, *, most: int = MAX_TEXT) -> None:
    for text in texts:
        if len(text) > most:
            raise UsageError(f"a text has {len(text)} characters, at most {most} are read", where=where)
        if encodable(text) != text:
            raise UsageError("a text has half a surrogate pair, which UTF-8 cannot hold", where=where)


def _refuse_cycles(graph: Graph, where: str) -> None:
    """Viewers follow edges, and would not end."""
    waiting = Counter(edge.target for edge in graph.edges)
    targets = defaultdict(list)
    for edge in graph.edges:
        targets[edge.source].append(edge.target)
    ready = [node.id for node in graph.nodes if not waiting[node.id]]
    n = 0
    while ready:
        id_ = ready.pop()
        n += 1
        for target in targets[id_]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if n < len(graph.nodes):
        id_ = next(i for i, left in waiting.items() if left > 0)
        raise UsageError(f"links lead in a circle, to {id_!a} among others", where=f"{where}, links")
