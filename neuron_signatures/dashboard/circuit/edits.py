"""Edits of selected nodes at their positions, and what their total effects predict of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from neuron_signatures.api.live import EditMessage, InterveneRequest, TargetMessage
from neuron_signatures.runs.circuits.graph import Node, Prompt
from neuron_signatures.runs.errors import UsageError

MOST_EDITS: Final = 64
"""Messages of one request."""
EditOf = Literal["ablate", "scale"]


class Predicted(NamedTuple):
    """The change of the target function that total effects predict, to first order."""

    change: float | None
    """In logits; None without a total effect for any of the nodes."""
    n_known: int
    """Nodes with a total effect."""
    n: int


def neurons_of(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that can be edited: neurons at positions."""
    return tuple(n for n in nodes if n.kind == "neuron" and n.neuron is not None)


def edit_request(
    nodes: Sequence[Node], prompt: Prompt, kind: EditOf, factor: float, *, controls: int, top_k: int
) -> InterveneRequest:  # fmt: skip
    """The request for the circuit's own tokens and target. To ablate is to set each neuron to its reference at its
    position, which is the change that total effects are of.

    Raises `UsageError` for more than `MOST_EDITS` different edits.
    """
    edits: dict[tuple[int, int, float], list[int]] = {}
    for n in neurons_of(nodes):
        value = factor if kind == "scale" else n.reference or 0.0
        edits.setdefault((n.layer, n.pos, value), []).append(n.neuron or 0)
    if len(edits) > MOST_EDITS:
        raise UsageError(f"{len(edits)} edits are too many for one request", next_step=f"Select at most {MOST_EDITS}")
    how: Literal["scale", "set"] = "scale" if kind == "scale" else "set"
    messages = [
        EditMessage(layer=layer, neurons=neurons, kind=how, value=value, positions=[pos])
        for (layer, pos, value), neurons in edits.items()
    ]
    on = TargetMessage(pos=prompt.target_pos, target_id=prompt.target_id, foil_id=prompt.foil_id)
    return InterveneRequest(token_ids=list(prompt.token_ids), edits=messages, on=on, top_k=top_k, controls=controls,
                            controls_by="delta")  # fmt: skip


def predicted_change(nodes: Sequence[Node], kind: EditOf, factor: float) -> Predicted:
    """Σ over the neurons of effect · (new - a) / (a - ā); effect = (a - ā) ∂f/∂a."""
    changes = [c for n in neurons_of(nodes) if (c := _change(n, kind, factor)) is not None]
    return Predicted(sum(changes) if changes else None, len(changes), len(neurons_of(nodes)))


def _change(node: Node, kind: EditOf, factor: float) -> float | None:
    if node.effect is None:
        return None
    if kind == "ablate":
        return -node.effect
    a, moved = node.activation, (node.activation or 0.0) - (node.reference or 0.0)
    return None if a is None or not moved else node.effect * (factor - 1.0) * a / moved
