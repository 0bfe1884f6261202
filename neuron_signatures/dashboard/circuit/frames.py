"""Tables of the view Circuit as data frames; undefined numbers are empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from neuron_signatures.runs.circuits.graph import Node, Prompt
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.circuit.checks import CurveRow, SwapRow
from neuron_signatures.views.circuit.labels import cut, head_names, node_name
from neuron_signatures.views.circuit.lists import ListedEdge

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNED = "%+.3g"
EDGE_HELP = {
    "node": "Click a cell of the row to select the node. + or -: the sign of its activation minus its reference.",
    "direct": "Predicted by the half rule, norms' scales and attention patterns constant. Positive: raises the target.",
    "total": "Plain gradient through everything between the two nodes, for the same change.",
    "measured": "By a forward pass with the source at its reference; empty if it was not measured.",
    "share": "|direct| as a part of Σ|E| into the edge's target.",
    "heads": "Attention heads that the edge passes through. A path through several counts in each.",
    "stands for": "Its label, else the tokens that it promotes.",
}
NODE_HELP = {
    "node": "Click a cell of the row to select only this node.",
    "act": "Activation; of the target, the value of what is explained.",
    "reference": "The activation that it is compared with.",
    "relevance": "For the target over all paths, half rule, norms and attention constant; in logits.",
    "total effect": "On the target: (act - reference) times the plain gradient, in logits.",
    "measured": "On the target, by a forward pass with the neuron at its reference; in logits.",
}
CURVE_HELP = {
    "k": "The k strongest neurons at positions, by |relevance|.",
    "keeps": "Share of the target that is kept if all other neurons are at their references.",
    "random keep": "The same for random sets with as many neurons per layer and position: mean ± standard deviation.",
    "p keep": "Share of the random sets, plus one, that keep at least as much.",
    "left without": "Share of the target that is left if these neurons are at their references.",
    "random left": "The same for random sets.",
    "p left": "Share of the random sets, plus one, of which at most as much is left.",
    "sets": "Random sets.",
}
SWAP_HELP = {
    "group": "Whose activations are replaced by those of the other prompt, at the aligned positions.",
    "moved": "In logit of the other prompt's target minus this one's.",
    "random moved": "Random neurons of the same layers and positions whose change has the same norm: mean ± std.",
    "random flips": "Share of the random groups that flip the answer.",
    "p": "Share of the random groups, plus one, that move the answer at least as far.",
}


def edge_frame(edges: Sequence[ListedEdge], prompt: Prompt) -> pd.DataFrame:
    """One side of a node, in the order given; columns without a value are left out."""
    rows: list[dict[str, Any]] = [
        {"node": node_name(e.other, prompt), "direct": e.weight, "total": e.total, "measured": e.measured,
         "stands for": stands_for(e.other), "share": e.strength, "heads": head_names(e.heads)}
        for e in edges
    ]  # fmt: skip
    return without_empty(rows, ("node", "direct", "share"))


def node_frame(nodes: Sequence[Node], prompt: Prompt) -> pd.DataFrame:
    """Selected nodes, or those of a group."""
    rows: list[dict[str, Any]] = [
        {"node": node_name(n, prompt), "act": n.activation, "reference": n.reference, "relevance": n.score,
         "total effect": n.effect, "measured": n.measured, "stands for": stands_for(n)}
        for n in nodes
    ]  # fmt: skip
    return without_empty(rows, ("node",))


def curves_frame(curves: Sequence[CurveRow]) -> pd.DataFrame:
    return without_empty([
        {"k": c.k, "keeps": c.faithfulness, "random keep": spread(c.random_mean, c.random_sd),
         "p keep": shown_p(c.p, c.n_random), "left without": c.complement,
         "random left": spread(c.complement_random_mean, c.complement_random_sd),
         "p left": shown_p(c.complement_p, c.n_random), "sets": c.n_random}
        for c in curves
    ], ("k",))  # fmt: skip


def swaps_frame(swaps: Sequence[SwapRow]) -> pd.DataFrame:
    return without_empty([
        {"group": brief(s.group), "neurons": s.n_neurons, "other prompt": brief(s.other_prompt or ""),
         "before": _token(s.answer_before), "after": _token(s.answer_after), "other's answer": _token(s.answer_other),
         "flips": {True: "yes", False: "no", None: ""}[s.flipped], "random flips": s.random_flip_share,
         "moved": s.moved, "random moved": spread(s.null_mean, s.null_sd), "p": shown_p(s.p, s.n_null),
         "random groups": s.n_null}
        for s in swaps
    ], ("group",))  # fmt: skip


def spread(mean: float | None, sd: float | None) -> str:
    """`0.120 ± 0.050`; empty if undefined."""
    return "" if mean is None else f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def stands_for(node: Node) -> str:
    """Its label, else the tokens that it promotes; escaped."""
    return cut(brief(node.label), 120) if node.label else " ".join(visible(t) for t in node.promotes[:5])


def without_empty(rows: Sequence[Mapping[str, Any]], kept: Sequence[str]) -> pd.DataFrame:
    """A frame without columns that have no value in any row, other than those in `kept`."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(kept)
    used = [n for n in names if n in kept or any(row.get(n) not in (None, "", "-") for row in rows)]
    return pd.DataFrame([[row.get(n) for n in used] for row in rows], columns=used).infer_objects()


def _token(token: str | None) -> str:
    return "" if token is None else visible(token)
