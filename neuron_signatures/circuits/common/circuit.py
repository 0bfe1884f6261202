"""The common circuit of several prompts of one template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from neuron_signatures.circuits.common.held_out import Held, held_of, mean_of
from neuron_signatures.circuits.common.members import Key, Member, Template
from neuron_signatures.circuits.common.nodes import N_DRAWS, CommonNode, common_nodes, mean_sd
from neuron_signatures.runs.run import Run

LEAST_SHARE: Final = 0.5
"""Share of the circuits from which a node is common."""
LEAST_STORED: Final = 0.1
"""Share of the circuits from which a node or edge is stored at all; at least two circuits."""


class CommonEdge(NamedTuple):
    """An edge between two nodes, by their numbers; over the circuits that have it."""

    source: int
    target: int
    n_circuits: int
    share: float
    mean_weight: float | None
    sd_weight: float | None


@dataclass(frozen=True)
class CommonCircuit:
    """`held` are in the order of the template's members."""

    template: Template
    nodes: tuple[CommonNode, ...]
    """The most frequent first."""
    edges: tuple[CommonEdge, ...]
    held: tuple[Held, ...]

    @property
    def common(self) -> list[CommonNode]:
        """The neurons that are in at least `LEAST_SHARE` of the circuits."""
        return [node for node in self.nodes if node.key.kind == "neuron" and node.share >= LEAST_SHARE]

    def facts(self) -> dict[str, Any]:
        """For the stage record."""
        out = [held for member, held in zip(self.template.members, self.held, strict=True) if member.held_out]
        own = [held for member, held in zip(self.template.members, self.held, strict=True) if not member.held_out]
        return {
            "n_circuits": len(self.template.training), "n_held_out": len(self.template.held_out),
            "start_tokens": self.template.span.start, "end_tokens": self.template.span.end,
            "n_nodes": len(self.nodes), "n_common": len(self.common), "least_share": LEAST_SHARE,
            "change_from": "zero" if self.template.mean_of_template else "reference",
            "n_varying": sum(node.varies for node in self.common),
            "common_share": mean_of([h.common_share for h in own]), "covered": mean_of([h.covered for h in own]),
            "held_out_common_share": mean_of([h.common_share for h in out]),
            "held_out_covered": mean_of([h.covered for h in out]),
            "held_out_null_mean": mean_of([h.null_mean for h in out]),
            "held_out_null_sd": mean_of([h.null_sd for h in out]),
            "held_out_largest_p": max((h.p for h in out if h.p is not None), default=None),
        }  # fmt: skip


def common_circuit(template: Template, run: Run | None, *, d_mlp: int, seed: int = 0) -> CommonCircuit:
    """What the circuits that are not held out have in common, and how much of it is in those that are.

    Activations are those stored in the run; without one, those of the circuits' nodes.
    """
    training = template.training
    counts = Counter(key for member in training for key in member.nodes)
    least = max(2, LEAST_STORED * len(training))
    keys = sorted((key for key, n in counts.items() if n >= least), key=lambda key: (-counts[key], _order(key)))
    nodes = common_nodes(template, keys, counts, run, seed)
    random = np.random.default_rng(seed)
    held = [
        held_of(member, common, d_mlp=d_mlp, random=random, n_draws=N_DRAWS)
        for member, common in zip(template.members, common_keys(template), strict=True)
    ]
    return CommonCircuit(template, tuple(nodes), tuple(_edges(training, keys, least)), tuple(held))


def common_keys(template: Template) -> list[set[Key]]:
    """For each member the neurons that are common to the circuits that are not held out, without its own."""
    counts = Counter(key for member in template.training for key in member.nodes)
    return [_common_without(member, counts, len(template.training)) for member in template.members]


def _common_without(member: Member, counts: Counter[Key], n: int) -> set[Key]:
    """The neurons that are common to the circuits without this one, if it is among them."""
    own: Collection[Key] = () if member.held_out else member.nodes
    n_others = n if member.held_out else n - 1
    return {
        key for key, times in counts.items() if key.kind == "neuron" and times - (key in own) >= LEAST_SHARE * n_others
    }


def _edges(training: Sequence[Member], keys: Sequence[Key], least: float) -> list[CommonEdge]:
    number = {key: i for i, key in enumerate(keys)}
    weights: dict[tuple[int, int], list[float]] = {}
    for member in training:
        at = {node.id: number[key] for key, node in member.nodes.items() if key in number}
        for edge in member.graph.edges:
            if edge.source in at and edge.target in at:
                weights.setdefault((at[edge.source], at[edge.target]), []).append(edge.weight)
    kept = {pair: found for pair, found in weights.items() if len(found) >= least}
    return [
        CommonEdge(*pair, len(found), len(found) / len(training), *mean_sd(found))
        for pair, found in sorted(kept.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _order(key: Key) -> tuple[str, int, int, str]:
    return key.kind, key.layer, -1 if key.neuron is None else key.neuron, key.role
