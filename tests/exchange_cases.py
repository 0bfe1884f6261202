"""Graph files of circuits: written from hand-made circuits, and as other generators write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from circuits_made import EVIL, MARKUP

from neuron_signatures.runs.circuits.exchange.to_json import GraphSettings, graph_json, write_graph_json
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.circuits.groups import Group, GroupsFile

SETTINGS = GraphSettings(
    "made", "some/model", 1_700_000_000_000, node_share=0.8, edge_share=0.98,
    settings={"reference": "mean", "max_nodes": 5, "evil": EVIL}, facts={"completeness": 0.5, "replacement": None},
)  # fmt: skip


def made_groups(graph: Graph) -> GroupsFile:
    """A pin, a pin of a node that a newer trace dropped, and two groups with hostile labels."""
    ids = [node.id for node in graph.nodes if node.kind == "neuron"]
    return GroupsFile(
        pinned=(ids[0], "1_999_3"),
        groups=(
            Group(id="a", label=EVIL, nodes=(ids[1], ids[2], "1_998_3")),
            Group(id="b", label=MARKUP, nodes=(ids[3],), source="suggested", named_by="signatures"),
        ),
    )


def write_graph(folder: Path, graph: Graph, groups: GroupsFile | None = None, **options: Any) -> Path:
    file = graph_json(graph, groups, settings=SETTINGS, **options)
    write_graph_json(folder, "made.json", file)
    return folder / "made.json"


def edited(path: Path, change) -> Path:
    """The file with its JSON changed in place by a function."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def foreign_file(path: Path) -> Path:
    """A graph of transcoder features with the fields that are customary, and no others."""
    nodes = [
        {"node_id": "E_464_0", "feature": 0, "layer": "E", "ctx_idx": 0, "feature_type": "embedding",
         "jsNodeId": "E_464-0", "clerp": ""},
        {"node_id": "0_7_0", "feature": 35, "layer": "0", "ctx_idx": 0, "feature_type": "cross layer transcoder",
         "jsNodeId": "0_7-0", "clerp": "articles", "influence": 0.4, "activation": 3.5},
        {"node_id": "2_5_1", "feature": 33, "layer": "2", "ctx_idx": 1, "feature_type": "cross layer transcoder"},
        {"node_id": "0_1_1", "feature": -1, "layer": "1", "ctx_idx": 1, "feature_type": "mlp reconstruction error"},
        {"node_id": "lorsa:3", "feature": 3, "layer": 2, "ctx_idx": 1, "feature_type": "lorsa", "clerp": "copies"},
        {"node_id": "4_11_1", "feature": 11, "layer": "4", "ctx_idx": 1, "feature_type": "logit",
         "clerp": 'Output " dog" (p=0.100)', "token_prob": 0.1},
        {"node_id": "4_9_1", "feature": 9, "layer": "4", "ctx_idx": 1, "feature_type": "logit",
         "clerp": 'Output " cat" (p=0.700)', "token_prob": 0.7, "is_target_logit": True},
    ]  # fmt: skip
    links = [
        {"source": source, "target": target, "weight": weight}
        for source, target, weight in [
            ("E_464_0", "0_7_0", 2.0), ("0_7_0", "2_5_1", -1.5), ("0_1_1", "2_5_1", 0.5), ("2_5_1", "4_9_1", 4),
            ("lorsa:3", "4_11_1", 1.0),
        ]
    ]  # fmt: skip
    metadata = {"slug": "the cat", "scan": "other-model", "prompt_tokens": ["The", " fat"], "prompt": "The fat"}
    q_params = {"pinnedIds": ["2_5_1"], "supernodes": [["the cat", "0_7_0", "2_5_1"]], "clickedId": ""}
    content = {"metadata": metadata, "qParams": q_params, "nodes": nodes, "links": links}
    path.write_text(json.dumps(content))
    return path
