"""Parts of a circuit in the report: the picture with what it leaves out, the strongest paths and nodes, and tests."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.reporting.html import NOTHING, Content, Html, el, join
from neuron_signatures.reporting.parts import Column, fold, p, table
from neuron_signatures.reporting.svg import Axes, Band, Line, curves, key
from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.circuit.checks import Checks, SwapRow
from neuron_signatures.views.circuit.common import CommonCircuit, CommonNode
from neuron_signatures.views.circuit.common_checks import common_check_words
from neuron_signatures.views.circuit.labels import cut, position_name, sign_of
from neuron_signatures.views.circuit.layout import lay_out
from neuron_signatures.views.circuit.opened import OpenedCircuit
from neuron_signatures.views.circuit.paths import strongest_paths
from neuron_signatures.views.circuit.picture import picture
from neuron_signatures.views.circuit.shown import REASONS, Shown, Thresholds, show
from neuron_signatures.views.interventions.sheets import share_text, signed_text

MOST_NODES, MOST_EDGES = 60, 160
"""Of a picture: with more, lines cover each other."""
_WIDTH = 1010.0
"""Pixels of the page."""
_WORDS = 60
"""Characters of what a neuron stands for."""


def figures(found: OpenedCircuit) -> list[Html]:
    """The picture, how to read it, and what it does not show; folded, the same with each group as one node."""
    said = (
        "From the tokens of the prompt (below) to the answer (above): a column for each position, a row for each "
        "layer. ▲ supports the answer, ▼ opposes it. Solid green lines raise the node above them, dashed orange lines "
        "lower it; thick lines are a large share of what that node receives. "
    )
    drawn = [_figure(found, said, ())]
    if found.groups.groups:
        by = "suggested by the trace" if found.groups.origin == "suggested" else "made by people"
        folded = _figure(found, f"Groups {by}; lines are sums. ", [g.id for g in found.groups.groups])
        drawn.append(fold("The same with each group as one node", folded))
    return drawn


def _figure(found: OpenedCircuit, said: str, collapsed: Sequence[str]) -> Html:
    shown = show(
        found.stored.graph,
        Thresholds(max_nodes=MOST_NODES, max_edges=MOST_EDGES, kinds=("neuron", "embedding", "target")),
        groups=found.groups.groups, pinned=found.groups.pinned, collapsed=collapsed,
    )  # fmt: skip
    drawn = el("div", Html(picture(shown, lay_out(shown, width=_WIDTH))), class_="scroll", tabindex=0, role="group")
    return el("figure", drawn, el("figcaption", said, hidden_words(shown)))


def hidden_words(shown: Shown) -> str:
    """How much of the graph is drawn, and why the rest is not."""
    graph = shown.graph
    total = sum(abs(e.weight) for e in graph.edges)
    share = f" ({share_text(shown.abs_weight / total)} of the Σ|E| of all edges)" if total else ""
    drawn = (
        f"Drawn: {shown.n_nodes} of {counted(len(graph.nodes), 'node')} and {shown.n_edges:,} of "
        f"{counted(len(graph.edges), 'edge')}{share}."
    )
    reasons = [
        f"{' and '.join(filter(None, (_n(h.n_nodes, 'node'), _n(h.n_edges, 'edge'))))}, "
        f"{'rest nodes and the constant' if h.reason == 'kind' else REASONS[h.reason]}"
        for h in shown.hidden
    ]  # fmt: skip
    return f"{drawn} Not drawn: {'; '.join(reasons)}." if reasons else drawn


def paths_table(found: OpenedCircuit, n: int) -> Html:
    """The strongest paths from tokens over neurons to the answer."""
    rows = []
    for ranked in strongest_paths(found.index, n):
        nodes = [found.index.nodes[i] for i in reversed(ranked.path)]
        rows.append([signed_text(ranked.effect), el("span", _route(found, nodes), class_="text wide")])
    if not rows:
        return p("No path leads from a token over a neuron of the graph to the answer.")
    columns = [Column("adds to the target", help="Product of the path's edges, in units of the target function."),
               Column("path", False)]  # fmt: skip
    said = (
        "What one path alone adds, with attention patterns and the scales of norms constant. Many paths share the "
        "work, and paths of opposite sign cancel: each is a small part of the value that is explained."
    )
    return join([el("h4", "The strongest paths"), table(columns, rows), p(said, class_="small")])


def nodes_table(found: OpenedCircuit, n: int) -> Html:
    """The neurons with the largest |score|, with what was predicted and what was measured."""
    neurons = [node for node in found.stored.graph.nodes if node.kind == "neuron" and node.score is not None]
    neurons.sort(key=lambda node: -abs(node.score or 0.0))
    columns = [
        Column("neuron", False), Column("at", False), Column("stands for", False),
        Column("act"), Column("reference", help="What its activation is compared with."),
        Column("score", help="Relevance for the target over all paths, norms and attention constant."),
        Column("total effect", help="By the gradient of the model as it is."),
        Column("measured", help="By a forward pass with the neuron set to its reference."),
    ]  # fmt: skip
    rows: list[list[Content]] = [
        [f"{node.name}{sign_of(node)}", position_name(found.prompt, node.pos),
         _text(stands_for(found, node)), _signed(node.activation), _signed(node.reference),
         _signed(node.score), _signed(node.effect), _signed(node.measured)]
        for node in neurons[:n]
    ]  # fmt: skip
    more = p(f"The first {n} of {len(neurons)} neurons.", class_="small") if len(neurons) > n else None
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    shown = table([columns[i] for i in used], [[row[i] for i in used] for row in rows])
    return join([el("h4", "The neurons with the largest scores"), shown, more]) if rows else NOTHING


def edges_table(found: OpenedCircuit, n: int) -> Html:
    """The strongest edges that were also tested: predicted beside measured."""
    measured = sorted((e for e in found.stored.graph.edges if e.measured is not None), key=lambda e: -abs(e.weight))
    if not measured:
        return NOTHING
    columns = [Column("from", False), Column("into", False), Column("direct"), Column("total"), Column("measured")]
    rows = [[_name(found, e.source), _name(found, e.target), _signed(e.weight), _signed(e.total), _signed(e.measured)]
            for e in measured[:n]]  # fmt: skip
    said = f"Predicted and measured effects of {counted(len(measured), 'edge')}"
    return fold(said, table(columns, rows))


def curves_part(checks: Checks) -> Html:
    """Faithfulness and complement of sets of growing size beside random sets, as figures and as a table."""
    rows = [c for c in checks.curves if c.faithfulness is not None or c.complement is not None]
    if not rows:
        return p("Sets of neurons were tested, and no share is defined: the target hardly depends on the neurons.")
    kept = [c for c in rows if c.faithfulness is not None]
    left = [c for c in rows if c.complement is not None]
    lines = [
        Line("only the first k", [float(c.k) for c in kept], [_within(c.faithfulness) for c in kept], is_main=True),
        Line("all but the first k", [float(c.k) for c in left], [_within(c.complement) for c in left]),
    ]
    bands = [_band(c.k, c.random_mean, c.random_sd) for c in kept] + \
            [_band(c.k, c.complement_random_mean, c.complement_random_sd) for c in left]  # fmt: skip
    axes = Axes("neurons at positions, k", "", log_x=True, low=-0.2, high=1.2, levels=(0.0, 1.0))
    drawn = curves(lines, axes, [b for b in bands if b is not None], label="share of the target kept against set size")
    said = (
        "Share of the target function that is kept if all neurons but the k strongest are set to their references "
        "(faithfulness), and that is left if these k are (complement). Grey bars: random sets with as many neurons in "
        "each layer at each position, mean ± 2 standard deviations."
    )
    columns = [Column("k"), Column("faithfulness"), Column("random sets"), Column("p"), Column("complement"),
               Column("random sets"), Column("p"), Column("sets")]  # fmt: skip
    numbers = [
        [f"{c.k:,}", _two(c.faithfulness), _spread(c.random_mean, c.random_sd), _p(c.p, c.n_random),
         _two(c.complement), _spread(c.complement_random_mean, c.complement_random_sd),
         _p(c.complement_p, c.n_random), f"{c.n_random:,}" if c.n_random else ""]
        for c in rows
    ]  # fmt: skip
    shown = el("figure", key([line.name for line in lines]), drawn, el("figcaption", said))
    return join([el("h4", "Are these neurons enough?"), shown, table(columns, numbers)])


def swaps_part(checks: Checks, n: int) -> Html:
    """What happens to the answer when a group's activations are those of another prompt."""
    if not checks.swaps:
        return NOTHING
    columns = [
        Column("group", False), Column("neurons"), Column("other prompt", False), Column("answer", False),
        Column("after", False), Column("answer there", False), Column("flips", False), Column("moved"),
        Column("random neurons"), Column("p"), Column("random flips"),
    ]  # fmt: skip
    rows = [_swap_row(s) for s in checks.swaps[:n]]
    said = (
        "A group's activations are replaced by those of another prompt. Moved: logit of the other prompt's answer "
        "minus this one's, after minus before. The null: random neurons of the same layers and positions whose change "
        "has the same norm."
    )
    more = f" The first {n} of {len(checks.swaps):,} are shown." if len(checks.swaps) > n else ""
    return join([el("h4", "Does the answer follow a group?"), table(columns, rows), p(said, more, class_="small")])


def _swap_row(s: SwapRow) -> list[Content]:
    flips = "" if s.flipped is None else "yes" if s.flipped else "no"
    return [
        _text(brief(s.group)), _n(s.n_neurons, ""), brief(s.other_prompt or ""),
        _word(s.answer_before), _word(s.answer_after), _word(s.answer_other), flips, _signed(s.moved),
        _spread(s.null_mean, s.null_sd), _p(s.p, s.n_null),
        "" if s.random_flip_share is None else share_text(s.random_flip_share),
    ]  # fmt: skip


def common_part(found: CommonCircuit, n: int) -> Html:
    """What several circuits share: the nodes of most circuits, and which of them change with the entity."""
    columns = [
        Column("node", False), Column("position", False, help="Aligned between prompts: from start, entity or end."),
        Column("circuits"), Column("mean score"),
        Column("of the entity", help="1 - mean²/mean of squares of its changes over the prompts: 0 if they are "
               "the same in all. With its 95 % interval."),
        Column("changes with it", False), Column("stands for", False),
    ]  # fmt: skip
    nodes = [node for node in found.nodes if node.kind == "neuron"]
    rows: list[list[Content]] = [
        [node.name, brief(node.role), f"{node.share:.0%}", _mean(node.mean_score, node.sd_score), _entity(node),
         "" if node.varies is None else "yes" if node.varies else "no", _text(cut(brief(node.label or ""), _WORDS))]
        for node in nodes[:n]
    ]  # fmt: skip
    more = f" The first {n} of {counted(len(nodes), 'neuron')}." if len(nodes) > n else ""
    held = [m for m in found.members if m.held_out and m.common_share is not None]
    parts: list[Content] = [el("h3", f"Common circuit {brief(found.name)}"), p(f"{found.words}.")]
    if held:
        shares = sum(m.common_share or 0.0 for m in held) / len(held)
        null = [m.null_mean for m in held if m.null_mean is not None]
        beside = f", of random neurons {share_text(sum(null) / len(null))}" if null else ""
        parts.append(p(f"Held-out circuits have {share_text(shares)} of the common neurons in the mean{beside}."))
    parts += [p(f"{words[:1].upper()}{words[1:]}.") for words in common_check_words(found.checks)]
    return join([*parts, table(columns, rows), p(more, class_="small") if more else None])


def _entity(node: CommonNode) -> str:
    if node.entity_share is None:
        return ""
    known = node.entity_low is not None and node.entity_high is not None
    return f"{node.entity_share:.2f}" + (f" [{node.entity_low:.2f}, {node.entity_high:.2f}]" if known else "")


def _mean(mean: float | None, sd: float | None) -> str:
    return "" if mean is None else signed_text(mean) if sd is None else f"{signed_text(mean)} ± {sd:.2g}"


def stands_for(found: OpenedCircuit, node: Node) -> str:
    """The node's group in brackets, and its label or the tokens that it promotes; escaped for display."""
    group = found.group_of.get(node.id)
    words = brief(node.label) if node.label else " ".join(visible(t) for t in node.promotes[:5])
    return " ".join(filter(None, (f"[{brief(group.label or group.id)}]" if group else "", cut(words, _WORDS))))


def _route(found: OpenedCircuit, nodes: Sequence[Node]) -> Html:
    """`7 ·Dallas → L0N363+ at 7 (…) → ·Austin`."""
    steps: list[Content] = []
    for node in nodes:
        said = cut(stands_for(found, node), 32) if node.kind == "neuron" else ""
        steps.append(join([_name(found, node.id), el("small", f" {said}") if said else None]))
    return join(steps, " → ")


def _name(found: OpenedCircuit, node_id: str) -> str:
    node = found.index.nodes[node_id]
    if node.kind == "neuron":
        return f"{node.name}{sign_of(node)} at {node.pos}"
    if node.kind == "target":
        return visible(node.token or found.prompt.target)
    return position_name(found.prompt, node.pos) if node.kind == "embedding" else brief(node.id)


def _p(p: float | None, n: int | None) -> str:
    return "" if p is None else shown_p(p, n)


def _band(k: int, mean: float | None, sd: float | None) -> Band | None:
    if mean is None:
        return None
    half = 2 * (sd or 0.0)
    return Band([float(k)], [_within(mean - half)], [_within(mean + half)], [_within(mean)])


def _within(value: float | None) -> float:
    """A far value would flatten the figure; the table has it."""
    return min(max(value or 0.0, -0.25), 1.25)


def _n(n: int | None, what: str) -> str:
    return "" if not n else counted(n, what) if what else f"{n:,}"


def _text(said: str) -> Content:
    """A text that may be long; empty if it is."""
    return el("span", said, class_="text") if said else ""


def _word(token: str | None) -> str:
    return "" if token is None else visible(token)


def _signed(value: float | None) -> str:
    return "" if value is None else signed_text(value)


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(mean: float | None, sd: float | None) -> str:
    return "" if mean is None else f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
