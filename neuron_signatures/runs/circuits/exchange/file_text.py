"""The text of a file of attribution-graph JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from neuron_signatures.runs.circuits.exchange.schema import GraphFile, GraphNode, Part


def graph_text(file: GraphFile) -> str:
    """Strict JSON, with one node or link per line."""
    own = file.neuron_signatures
    parts = {
        "metadata": part_text(file.metadata),
        "qParams": part_text(file.qParams),
        "neuron_signatures": "null" if own is None else part_text(own),
        "nodes": _lines(_node_text(node) for node in file.nodes),
        "links": _lines(part_text(link) for link in file.links),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in parts.items()) + "\n}\n"


def part_text(part: Part) -> str:
    """One part on one line, without fields that are null."""
    return _text(part.model_dump(mode="json", exclude_none=True))


def finite(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def _node_text(node: GraphNode) -> str:
    """With `influence` and `activation`, also where they are null."""
    values = node.model_dump(mode="json", exclude_none=True)
    return _text({**values, "influence": node.influence, "activation": node.activation})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _lines(texts: Iterable[str]) -> str:
    return "[\n" + ",\n".join(texts) + "\n]"
