"""A traced circuit as plain values: nodes, edges, and the prediction that they explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

NodeKind = Literal["neuron", "embedding", "rest", "constant", "target"]
"""`rest`: everything of a layer and position that is no node of its own, and all biases of that layer. `constant`: the
references of all neurons, where they are not zero."""
NODE_KINDS: Final[tuple[NodeKind, ...]] = get_args(NodeKind)
EMBEDDING_LAYER: Final = -1


@dataclass(frozen=True)
class Node:
    """One node. Numbers that are not defined for its kind, or were not computed, are None.

    `layer` is -1 for embeddings and the constant and the number of layers for the target; `pos` of the constant is -1.
    """

    id: str
    """Unique and stable between traces: see `node_id`."""
    kind: NodeKind
    layer: int
    pos: int
    neuron: int | None = None
    token_id: int | None = None
    """Of an embedding the token there, of the target the token that is explained."""
    token: str = ""
    """The token as stored in the run, not escaped."""
    activation: float | None = None
    """a of a neuron, the target function's value of the target."""
    reference: float | None = None
    """ā of a neuron."""
    score: float | None = None
    """Relevance for the target over all paths, (a - ā) ∂f/∂a under the half rule, norms and attention constant."""
    influence: float | None = None
    """Cumulative share of the pruning's influence, in order of influence: 0.8 means that this node and all before it
    have 80 %."""
    effect: float | None = None
    """Plain-gradient total effect on the target: (a - ā) ∂f/∂a of the model as it is."""
    measured: float | None = None
    """f minus f with this neuron set to ā at this position, in a forward pass."""
    incoming_abs: float | None = None
    """Σ|E| over all sources, every neuron singly."""
    shown_abs: float | None = None
    """Σ|E| over the nodes of the circuit other than rest and constant."""
    rest_abs: float | None = None
    """Σ|E| over the rest nodes and the constant, each a sum of its own."""
    label: str = ""
    """What the neuron stands for: its explanation, the tokens it promotes, or its signature; empty if unknown."""
    promotes: tuple[str, ...] = ()
    """The tokens whose logits the neuron raises most with this sign of (a - ā), not escaped."""

    @property
    def name(self) -> str:
        """`L18N3428` for a neuron, else the id."""
        return f"L{self.layer}N{self.neuron}" if self.kind == "neuron" else self.id


@dataclass(frozen=True)
class Edge:
    """What the source adds to the target: direct, with norms' scales and attention patterns constant (`weight`, half
    rule); by the plain gradient of the model through everything between (`total`); in a forward pass with the source
    set to its reference (`measured`: the target's value minus that one). All three are for the same change, a - ā, and
    positive where the source raises the target's value."""

    source: str
    target: str
    weight: float
    total: float | None = None
    measured: float | None = None
    share: float | None = None
    """Cumulative share of the edges' influence, as `Node.influence`."""
    other_heads: float | None = None
    """The sum of the shares of attention heads that are not stored; None if shares were not computed."""


@dataclass(frozen=True)
class HeadShare:
    """The part of an edge's weight that passes through one attention head. A path through several heads counts in
    each, so the parts of an edge can sum to more than its weight. Small parts are left out: `Edge.other_heads` is
    their sum."""

    source: str
    target: str
    layer: int
    head: int
    weight: float


@dataclass(frozen=True)
class Prompt:
    """The prediction that a circuit explains."""

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    target_pos: int
    target_id: int
    target: str
    target_probability: float | None
    """None if an imported file names none."""
    foil_id: int | None = None
    foil: str | None = None
    foil_probability: float | None = None
    value: float | None = None
    """The pre-cap logit of the target, minus that of the foil if there is one; None if an imported file lacks it."""


@dataclass(frozen=True)
class Graph:
    """Nodes and edges after pruning; every edge's ends are among the nodes, and ids are unique."""

    prompt: Prompt
    n_layers: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    heads: tuple[HeadShare, ...] = ()


def node_id(kind: NodeKind, layer: int, pos: int, *, n_layers: int, neuron: int = 0, token_id: int = 0) -> str:
    """The id in graph files: `L_i_p` of a neuron, `E_vocab_p` of an embedding, `R_L_p` of a rest node, `C` of the
    constant, `{n_layers + 1}_vocab_p` of the target."""
    return {
        "neuron": f"{layer}_{neuron}_{pos}",
        "embedding": f"E_{token_id}_{pos}",
        "rest": f"R_{layer}_{pos}",
        "constant": "C",
        "target": f"{n_layers + 1}_{token_id}_{pos}",
    }[kind]
