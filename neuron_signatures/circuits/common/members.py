"""Circuits of one template, with the roles of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from neuron_signatures.circuits.groups.align import Span, common_span, roles
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.errors import UsageError

_KINDS: Final = ("embedding", "neuron", "target")


class Key(NamedTuple):
    """What makes nodes of several circuits the same: `neuron` is None for embeddings and the target."""

    kind: str
    layer: int
    neuron: int | None
    role: str


@dataclass(frozen=True)
class Member:
    """One circuit. `entity` is what differs between the prompts of the template; by default the prompt's id."""

    name: str
    graph: Graph
    entity: str
    held_out: bool
    roles: tuple[str, ...]
    """Of each position."""

    @cached_property
    def nodes(self) -> dict[Key, Node]:
        """Neurons, embeddings and the target; the sums of everything else are in every circuit."""
        return {
            Key(node.kind, node.layer, node.neuron, self.roles[node.pos]): node
            for node in self.graph.nodes
            if node.kind in _KINDS
        }

    @cached_property
    def neurons(self) -> dict[Key, Node]:
        return {key: node for key, node in self.nodes.items() if key.kind == "neuron"}


class Template(NamedTuple):
    """Circuits of prompts that differ in one entity."""

    members: tuple[Member, ...]
    span: Span
    mean_of_template: bool = False
    """Whether the circuits' reference is the mean over the prompts of the template, by which every change depends on
    the entity."""

    @property
    def training(self) -> tuple[Member, ...]:
        """Those of which the common circuit is made."""
        return tuple(member for member in self.members if not member.held_out)

    @property
    def held_out(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.held_out)


def template_of(circuits: Sequence[StoredCircuit]) -> Template:
    """The circuits as members of one template; entities and held-out prompts are those of their records.

    Raises `UsageError` if the prompts have no more than their first token in common, if fewer than two are not held
    out, or if the circuits are of models with different numbers of layers.
    """
    given = [(circuit, circuit.record.settings) for circuit in circuits]
    kept = [circuit for circuit, settings in given if not settings.get("held_out")]
    if len(kept) < 2:
        what = f"a common circuit needs two prompts that are not held out, not {len(kept)}"
        raise UsageError(what, where="--cases", next_step="Give more prompts of the template")
    if len({circuit.graph.n_layers for circuit in circuits}) > 1:
        raise UsageError("the circuits are of models with different numbers of layers", where="--cases")
    tokens = [circuit.graph.prompt.token_ids for circuit in circuits]
    members = [
        Member(
            name=circuit.name, graph=circuit.graph, held_out=bool(settings.get("held_out")), roles=own,
            entity=str(settings.get("entity") or circuit.graph.prompt.prompt_id),
        )
        for (circuit, settings), own in zip(given, roles(tokens), strict=True)
    ]  # fmt: skip
    return Template(tuple(members), common_span(tokens), any(s.get("reference") == "template" for _, s in given))
