"""Attribution graphs of other generators as graphs of ours, by the fields that are customary.

Their units are features of transcoders more often than neurons; here they become nodes of the kind neuron whose number
is the feature's index. Error nodes become rest nodes. Nodes of an unknown type become rest nodes too, named by their
type, with a warning. Numbers that the format lacks (reference, score, effect) are None.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from neuron_signatures.runs.circuits.exchange.schema import (
    EMBEDDING,
    FEATURE,
    LOGIT,
    MAX_INT,
    GraphFile,
    GraphNode,
)  # fmt: skip
from neuron_signatures.runs.circuits.exchange.texts import cantor_unpair, read_logit_label
from neuron_signatures.runs.circuits.graph import EMBEDDING_LAYER, Edge, Graph, Node, Prompt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import safe_id

log = logging.getLogger(__name__)

UNKNOWN_TOKEN: Final = -1
_UNITS: Final = (FEATURE, "transcoder", "unexplored node")
_ID: Final = re.compile(r"(\d{1,10}|E|R)_(\d{1,15})_(\d{1,10})")


def foreign_graph(file: GraphFile, *, where: str) -> Graph:
    """The graph of a file without fields of ours. Raises `UsageError` with the node; ids and links are checked."""
    logits = [(i, node) for i, node in enumerate(file.nodes) if node.feature_type == LOGIT]
    if not logits:
        raise UsageError("there is no logit node", where=f"{where}, nodes")
    n_layers = _n_layers(file, where)
    target = max(logits, key=lambda found: (found[1].is_target_logit, _probability(found[1]) or 0.0))[1]
    nodes = [_node(node, file, n_layers, f"{where}, nodes.{i}") for i, node in enumerate(file.nodes)]
    _warn(file, len(logits))
    nodes.sort(key=lambda node: node.kind == "target" and node.id != target.node_id)  # ours is the first target
    edges = tuple(Edge(link.source, link.target, link.weight, link.total, link.measured, link.share)
                  for link in file.links)  # fmt: skip
    return Graph(_prompt(file, target), n_layers, tuple(nodes), edges)


def _node(node: GraphNode, file: GraphFile, n_layers: int, where: str) -> Node:
    kind, tokens, text = node.feature_type, file.metadata.prompt_tokens, node.clerp or ""
    if not 0 <= node.ctx_idx < len(tokens):
        raise UsageError(f"ctx_idx {node.ctx_idx} is not in 0..{len(tokens) - 1}", where=where)
    if kind == EMBEDDING:
        return Node(node.node_id, "embedding", EMBEDDING_LAYER, node.ctx_idx, None, _token_id(node),
                    tokens[node.ctx_idx], influence=node.influence)  # fmt: skip
    if kind == LOGIT:
        return Node(node.node_id, "target", n_layers, node.ctx_idx, None, _token_id(node),
                    read_logit_label(text).token, activation=node.activation, influence=node.influence)  # fmt: skip
    layer = _layer(node, where)
    if kind in _UNITS:
        return Node(node.node_id, "neuron", layer, node.ctx_idx, _index(node, layer, where),
                    activation=node.activation, influence=node.influence, label=text)  # fmt: skip
    label = text if "error" in kind else f"{kind}: {text}" if text else kind
    return Node(node.node_id, "rest", layer, node.ctx_idx, activation=node.activation, influence=node.influence,
                label=label)  # fmt: skip


def _prompt(file: GraphFile, target: GraphNode) -> Prompt:
    """Ids of tokens are those of the embeddings, and -1 where there is none; the logit's value is not in the
    format, and is None unless the node has an activation."""
    about = file.metadata
    ids = [UNKNOWN_TOKEN] * len(about.prompt_tokens)
    for node in file.nodes:
        if node.feature_type == EMBEDDING:
            ids[node.ctx_idx] = _token_id(node)
    label = read_logit_label(target.clerp or "")
    return Prompt(
        prompt_id=safe_id(about.slug or "imported"), text=about.prompt or "".join(about.prompt_tokens),
        token_ids=tuple(ids), tokens=tuple(about.prompt_tokens), target_pos=target.ctx_idx,
        target_id=_token_id(target), target=label.token, target_probability=_probability(target),
        value=target.activation,
    )  # fmt: skip


def _probability(node: GraphNode) -> float | None:
    """None if the file names none."""
    label = read_logit_label(node.clerp or "").probability
    found = node.token_prob if node.token_prob else label
    return found if found is not None and 0 <= found <= 1 else None


def _n_layers(file: GraphFile, where: str) -> int:
    """From the highest layer of a unit, and from the logit's, which is customarily the number of layers plus one."""
    layers = [_layer(n, f"{where}, nodes.{i}") for i, n in enumerate(file.nodes)
              if n.feature_type not in (EMBEDDING, LOGIT)]  # fmt: skip
    ends = [int(n.layer) - 1 for n in file.nodes if n.feature_type == LOGIT and _is_number(n.layer)]
    return max(1, max(layers, default=0) + 1, *ends)


def _layer(node: GraphNode, where: str) -> int:
    if not _is_number(node.layer):
        raise UsageError(f"layer {str(node.layer)[:40]!a} is not a number", where=where)
    return int(node.layer)


def _is_number(layer: str | int) -> bool:
    """Whether it is a possible layer."""
    return 0 <= layer < 1 << 16 if isinstance(layer, int) else re.fullmatch(r"[0-9]{1,4}", layer) is not None


def _index(node: GraphNode, layer: int, where: str) -> int:
    """The feature's index in its layer: from the id `layer_index_position`, from the Cantor pair, or `feature`."""
    parts = _ID.fullmatch(node.node_id)
    if parts and parts[1] == str(layer) and int(parts[3]) == node.ctx_idx and int(parts[2]) <= MAX_INT:
        return int(parts[2])
    if node.feature is None or node.feature < 0:
        raise UsageError("has no feature number", where=where)
    found_layer, index = cantor_unpair(node.feature)
    index = index if found_layer == layer else node.feature
    if index > MAX_INT:
        raise UsageError(f"feature {node.feature} is too large", where=where)
    return index


def _token_id(node: GraphNode) -> int:
    """From the id `E_token_position`, or of a logit `layer_token_position`; -1 if it has another form."""
    parts = _ID.fullmatch(node.node_id)
    return int(parts[2]) if parts and int(parts[2]) <= MAX_INT else UNKNOWN_TOKEN


def _warn(file: GraphFile, n_logits: int) -> None:
    units = sum(node.feature_type in _UNITS for node in file.nodes)
    log.warning("%d units of %s are features of another generator, and are shown as neurons", units,
                file.metadata.scan[:80] or "an unnamed model")  # fmt: skip
    if n_logits > 1:
        log.warning("the graph explains %d logits; the most probable is taken for the target", n_logits)
    types: Sequence[str] = [n.feature_type for n in file.nodes]
    for name, n in Counter(types).items():
        if name not in (*_UNITS, EMBEDDING, LOGIT) and "error" not in name:
            log.warning("%d nodes of the unknown type %a are shown as rest nodes", n, name[:40])
