"""The tables of a circuit as data frames."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from neuron_signatures.runs.circuits.folder import EDGES, HEADS, NODES, TABLES
from neuron_signatures.runs.circuits.graph import Graph

if TYPE_CHECKING:
    import pandas as pd


def circuit_tables(graph: Graph) -> dict[str, pd.DataFrame]:
    """Its nodes, edges and heads, by the stem of the table."""
    import pandas as pd

    rows = {
        NODES: [{**asdict(n), "promotes": json.dumps(list(n.promotes))} for n in graph.nodes],
        EDGES: [asdict(e) for e in graph.edges],
        HEADS: [asdict(h) for h in graph.heads],
    }
    frames = {stem: pd.DataFrame(found, columns=list(TABLES[stem].columns)) for stem, found in rows.items()}
    whole = {"neuron": "Int32", "token_id": "Int32"}
    return {**frames, NODES: frames[NODES].astype(whole)}
