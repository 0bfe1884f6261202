"""Suggested groups (supernodes): neurons at one position with similar edges and signatures.

The groups lie at one position each, since a group is drawn, swapped and scaled as one, and edges depend on the
position: a neuron that is in the circuit at two positions reads and writes other things at each. Embeddings, rest
nodes, the constant and the target are in no group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.circuits.groups.clusters import Clusters, best_clusters
from neuron_signatures.circuits.groups.profiles import (
    Part,
    edge_profiles,
    shuffled,
    signature_profile,
    similarity,
)
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.groups import MAX_LABEL, Evidence, Group, GroupsFile
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.tokens import encodable

N_DRAWS: Final = 200
LARGEST_P: Final = 0.05

Namer = Callable[[Sequence[Node]], tuple[str, Evidence | None]]
"""The name of a group, raw, and what it was made of."""


@dataclass(frozen=True)
class GroupFound:
    """A cluster of neurons. `p`: share of the shuffled profiles, plus one, among whose groups of at least this size is
    one with at least this mean silhouette."""

    nodes: tuple[Node, ...]
    silhouette: float
    p: float


@dataclass(frozen=True)
class Suggestion:
    """Groups that are above chance, and the comparison with shuffled profiles. Numbers are None without a
    clustering: with fewer than three neurons."""

    groups: GroupsFile
    found: tuple[GroupFound, ...]
    """Every cluster, the largest silhouette first; those with p ≤ `LARGEST_P` are in `groups`, if all are."""
    n_neurons: int
    n_grouped: int
    silhouette: float | None
    """Mean over the neurons of the cut that was chosen."""
    null_mean: float | None
    null_sd: float | None
    p: float | None
    n_null: int
    with_signatures: bool
    """Whether signatures were compared, beside edges."""

    @property
    def above_chance(self) -> bool:
        return self.p is not None and self.p <= LARGEST_P

    def facts(self) -> dict[str, Any]:
        """For the stage record."""
        return {
            "n_groups": len(self.groups.groups), "n_neurons": self.n_neurons, "n_grouped": self.n_grouped,
            "silhouette": self.silhouette, "null_mean": self.null_mean, "null_sd": self.null_sd, "p": self.p,
            "n_null": self.n_null, "with_signatures": self.with_signatures,
            "groups": [{"id": group.id, "silhouette": found.silhouette, "p": found.p}
                       for group in self.groups.groups for found in self.found
                       if tuple(node.id for node in found.nodes) == group.nodes],
        }  # fmt: skip

    def line(self) -> str:
        """The result for people."""
        if self.silhouette is None:
            return f"no groups: {self.n_neurons} neurons are too few to be grouped"
        against = (
            f"silhouette {self.silhouette:.2f}, of shuffled profiles {self.null_mean:.2f} ± {self.null_sd:.2f}, "
            f"p {self.p:.2g} of {self.n_null}"
        )
        if not self.above_chance:
            return f"no groups: the neurons' profiles form no more groups than chance ({against})"
        return (
            f"{counted(len(self.groups.groups), 'group')} of {self.n_grouped} of {self.n_neurons} neurons ({against})"
        )


def suggest_groups(
    graph: Graph, peaks: Float64[np.ndarray, "neuron prompt"] | None = None, *, namer: Namer | None = None,
    seed: int = 0, n_draws: int = N_DRAWS,
) -> Suggestion:  # fmt: skip
    """Group the neurons of a circuit by average linkage of the mean cosine of their profiles.

    `peaks` are those of the graph's neurons over the prompts of the run (`signatures.peak_acts`), in the order of
    `neurons_of`. Nothing is suggested unless the silhouette is above that of shuffled profiles, each of which is
    clustered and cut in the same way; then the groups that are so each for itself.
    """
    neurons = neurons_of(graph)
    parts: list[Part] = list(edge_profiles(graph, neurons))
    if peaks is not None:
        parts.append(signature_profile(neurons, peaks))
    pos = np.array([node.pos for node in neurons], np.int64)
    best = best_clusters(similarity(parts), pos)
    if best is None:
        return Suggestion(GroupsFile(), (), len(neurons), 0, None, None, None, None, 0, peaks is not None)
    null = _null(parts, pos, np.random.default_rng(seed), n_draws)
    sizes = [_sizes(drawn) for drawn in null]
    found = sorted((_found(neurons, best, members, sizes) for members in best.groups()), key=lambda g: -g.silhouette)
    values = np.array([drawn.silhouette for drawn in null])
    p = float((1 + (values >= best.silhouette).sum()) / (1 + n_draws))
    chosen = [group for group in found if max(p, group.p) <= LARGEST_P]
    return Suggestion(
        groups=_as_file(chosen, namer), found=tuple(found), n_neurons=len(neurons),
        n_grouped=sum(len(group.nodes) for group in chosen), silhouette=best.silhouette,
        null_mean=float(values.mean()), null_sd=float(values.std(ddof=1)), p=p, n_null=n_draws,
        with_signatures=peaks is not None,
    )  # fmt: skip


def neurons_of(graph: Graph) -> list[Node]:
    """The neurons of a circuit, in the order of its nodes."""
    return [node for node in graph.nodes if node.kind == "neuron"]


def _null(
    parts: Sequence[Part], pos: Int64[np.ndarray, " neuron"], random: np.random.Generator, n_draws: int
) -> list[Clusters]:
    drawn = (best_clusters(similarity([shuffled(part, pos, random) for part in parts]), pos) for _ in range(n_draws))
    return [clusters for clusters in drawn if clusters is not None]


def _found(
    neurons: Sequence[Node],
    best: Clusters,
    members: Int64[np.ndarray, " member"],
    null: Sequence[list[tuple[int, float]]],
) -> GroupFound:
    value = float(best.silhouettes[members].mean())
    better = sum(any(n >= len(members) and drawn >= value for n, drawn in sizes) for sizes in null)
    return GroupFound(tuple(neurons[i] for i in members), value, (1 + better) / (1 + len(null)))


def _sizes(clusters: Clusters) -> list[tuple[int, float]]:
    """The number of members and the mean silhouette of each group."""
    return [(len(members), float(clusters.silhouettes[members].mean())) for members in clusters.groups()]


def _as_file(groups: Sequence[GroupFound], namer: Namer | None) -> GroupsFile:
    """In order of position and of the lowest layer."""
    ordered = sorted(groups, key=lambda g: (g.nodes[0].pos, min(n.layer for n in g.nodes)))
    out = []
    for i, group in enumerate(ordered):
        name, named_by = namer(group.nodes) if namer is not None else ("", None)
        label = encodable(name)[:MAX_LABEL] or f"group {i + 1}"
        nodes = tuple(node.id for node in group.nodes)
        out.append(Group(id=f"s{i + 1}", label=label, nodes=nodes, source="suggested", named_by=named_by))
    return GroupsFile(groups=tuple(out))
