"""What the circuits of several prompts share, as rows. Read without torch and pandas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.circuits.folder import COMMON, COMMON_EDGES, COMMON_NODES, MEMBERS, circuit_folder
from neuron_signatures.runs.circuits.graph import NodeKind
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.stage_results import AGAIN, ResultRecord
from neuron_signatures.views.circuit.common_checks import CommonCheckRow, read_common_checks


@dataclass(frozen=True)
class CommonNode:
    """A node at a position that is aligned between prompts. See the table `common_nodes`; None where not defined."""

    kind: NodeKind
    layer: int
    role: str
    n_circuits: int
    share: float
    """Of the circuits that have it."""
    neuron: int | None = None
    mean_score: float | None = None
    sd_score: float | None = None
    mean_activation: float | None = None
    sd_activation: float | None = None
    entity_share: float | None = None
    entity_low: float | None = None
    entity_high: float | None = None
    varies: bool | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        return f"L{self.layer}N{self.neuron}" if self.kind == "neuron" and self.neuron is not None else self.kind


@dataclass(frozen=True)
class CommonEdge:
    """An edge between two rows of `nodes`, over the circuits that have it."""

    source: int
    target: int
    n_circuits: int
    share: float
    mean_weight: float | None = None
    sd_weight: float | None = None


@dataclass(frozen=True)
class MemberRow:
    """One of the circuits. See the table `members`."""

    circuit: str
    prompt_id: str | None = None
    entity: str | None = None
    target: str | None = None
    foil: str | None = None
    held_out: bool | None = None
    common_share: float | None = None
    covered: float | None = None
    null_mean: float | None = None
    null_sd: float | None = None
    p: float | None = None
    n_null: int | None = None


@dataclass(frozen=True)
class CommonCircuit:
    """The nodes are in order of share, then of |mean score|; the numbers of edges are those of the stored rows."""

    name: str
    nodes: tuple[CommonNode, ...]
    stored: tuple[CommonNode, ...]
    """In the order of the table."""
    edges: tuple[CommonEdge, ...]
    members: tuple[MemberRow, ...]
    record: ResultRecord
    outdated: bool
    """Whether one of the circuits was traced again since."""
    checks: tuple[CommonCheckRow, ...] = ()
    """What the common neurons keep of each prompt; empty if they were not tested."""

    @property
    def words(self) -> str:
        """`48 circuits, of which 8 held out: 120 nodes, of which 31 change with the entity, and 400 edges`."""
        held_out = sum(bool(m.held_out) for m in self.members)
        varies = sum(bool(n.varies) for n in self.nodes)
        out = f", of which {held_out} held out" if held_out else ""
        change = f", of which {varies:,} change with the entity" if varies else ""
        return f"{len(self.members):,} circuits{out}: {len(self.nodes):,} nodes{change}, and {len(self.edges):,} edges"

    @property
    def strongest_edges(self) -> list[tuple[CommonNode, CommonNode, CommonEdge]]:
        """Both ends and the edge, those of most circuits first; edges whose ends are no rows are left out."""
        n = len(self.stored)
        known = [e for e in self.edges if 0 <= e.source < n and 0 <= e.target < n]
        known.sort(key=lambda e: (-e.share, -abs(e.mean_weight or 0.0)))
        return [(self.stored[e.source], self.stored[e.target], e) for e in known]


def read_common(run_dir: Path, name: str) -> CommonCircuit:
    """Raises `UsageError` if it has not been made, `BadRunError` if it is damaged."""
    folder = circuit_folder(name)
    record = folder.read_record(run_dir, COMMON)
    rows = [folder.read_rows(run_dir, stem) for stem in (COMMON_NODES, COMMON_EDGES, MEMBERS)]
    try:
        nodes = TypeAdapter(list[CommonNode]).validate_python(rows[0])
        edges = TypeAdapter(list[CommonEdge]).validate_python(rows[1])
        members = TypeAdapter(list[MemberRow]).validate_python(rows[2])
    except ValidationError as e:
        what = "its tables do not hold what circuits share"
        raise BadRunError(what, where=str(run_dir / folder.folder), next_step=AGAIN) from e
    ordered = sorted(nodes, key=lambda n: (-n.share, -abs(n.mean_score or 0.0)))
    outdated = bool(folder.outdated(run_dir, record))
    return CommonCircuit(name, tuple(ordered), tuple(nodes), tuple(edges), tuple(members), record, outdated,
                        read_common_checks(run_dir, name))  # fmt: skip
