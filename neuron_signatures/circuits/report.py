"""What the command prints: the prediction, how much of it the graph accounts for, its strongest neurons and paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from neuron_signatures.analysis.report_text import number, percent, warning_lines
from neuron_signatures.circuits.checks.report import check_lines
from neuron_signatures.circuits.graph.paths import strongest_paths
from neuron_signatures.circuits.outcome import Common, Outcome
from neuron_signatures.runs.circuits.folder import circuit_folder
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.errors import shorten
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import escape, visible
from neuron_signatures.views.circuit.checks import agreements, scores_doubt
from neuron_signatures.views.circuit.common_checks import common_check_words, read_common_checks
from neuron_signatures.views.circuit.labels import without_evidence

_N_NEURONS: Final = 10
_N_PATHS: Final = 8
_N_LINES: Final = 20
_N_PROMOTED: Final = 3
_FEWEST_POINTS: Final = 8
"""Effects from which a correlation of them is printed; the record has it for any number."""


def trace_lines(run_dir: Path, outcome: Outcome) -> list[str]:
    """One circuit in full; of several one line each."""
    exported = [f"exported {escape(line)}" for one in outcome.exported for line in one.lines()]
    if len(outcome.circuits) == 1:
        (circuit,) = outcome.circuits
        return [*_circuit_lines(run_dir, circuit), *exported]
    shown = outcome.circuits[:_N_LINES]
    lines = [_one_line(found, new=found.name in outcome.new) for found in shown]
    if more := len(outcome.circuits) - len(shown):
        lines.append(f"         and {more:,} more")
    lines += _common_lines(run_dir, outcome.common)
    where = f"{escape(str(run_dir))}/circuits"
    return [*lines, f"written  {where}: {len(outcome.new):,} of {len(outcome.circuits):,} circuits now", *exported]


def trace_summary(run_dir: Path, outcome: Outcome) -> dict[str, Any]:
    """The same as a JSON record."""
    circuits = [
        {"name": c.name, "new": c.name in outcome.new, "settings": c.record.settings, "facts": c.record.facts,
         "strongest": [_summary(node) for node in strongest_neurons(c.graph)], "warnings": c.record.warnings}
        for c in outcome.circuits
    ]  # fmt: skip
    summary: dict[str, Any] = strict(
        {
            "run_dir": run_dir,
            "circuits": circuits,
            "exported": outcome.exported,
            "common": outcome.common,
            "checked": outcome.checked,
        }
    )
    return summary


def strongest_neurons(graph: Graph) -> list[Node]:
    """The neurons with the largest |relevance|; those without one last, in order of influence."""
    neurons = [node for node in graph.nodes if node.kind == "neuron"]
    return sorted(neurons, key=_order)[:_N_NEURONS]


def _order(node: Node) -> tuple[float, float]:
    return -abs(node.score or 0.0), 1.0 if node.influence is None else node.influence


def _circuit_lines(run_dir: Path, found: StoredCircuit) -> list[str]:
    graph = found.graph
    prompt = graph.prompt
    foil = f" against {visible(prompt.foil)!r}" if prompt.foil is not None else ""
    value, probability = number(prompt.value), number(prompt.target_probability)
    lines = [
        f"prompt   {escape(prompt.prompt_id)}: {shorten(' '.join(visible(t) for t in prompt.tokens), 120)}",
        f"target   {visible(prompt.target)!r}{foil} at position {prompt.target_pos}: {value}, "
        f"probability {probability}",
        *_size_lines(found),
        *check_lines(run_dir, found.name),
        "",
        *_neuron_lines(graph),
        *_path_lines(graph),
        *warning_lines(found.record.warnings),
    ]
    return [*lines, f"written  {escape(str(run_dir / circuit_folder(found.name).folder))}"]


def _common_lines(run_dir: Path, common: Common | None) -> Iterator[str]:
    if common is None:
        return
    facts = common.facts
    yield (
        f"common   {escape(common.name)}: {facts['n_common']:,} neurons in at least {percent(facts['least_share'])} of "
        f"{facts['n_circuits']:,} circuits, {facts['n_varying']:,} of which depend on the entity; they have "
        f"{percent(facts['covered'])} of the relevance"
    )
    if facts["n_held_out"]:
        yield (
            f"held out {facts['n_held_out']:,} circuits: each has {percent(facts['held_out_common_share'])} of the "
            f"common neurons (random neurons of their layers: {percent(facts['held_out_null_mean'])} ± "
            f"{percent(facts['held_out_null_sd'])}, largest p {number(facts['held_out_largest_p'])}), with "
            f"{percent(facts['held_out_covered'])} of the relevance"
        )
    yield from (f"tested   {words}" for words in common_check_words(read_common_checks(run_dir, common.name)))


def _size_lines(found: StoredCircuit) -> Iterator[str]:
    """The figures of the record; imported circuits may have none."""
    graph, facts = found.graph, found.record.facts
    candidates = f" of {facts['n_candidates']:,} candidates" if "n_candidates" in facts else ""
    yield (
        f"graph    {_n_neurons(graph):,} neurons{candidates}, {len(graph.nodes):,} nodes, {len(graph.edges):,} edges"
    )
    if "shown_share" in facts:
        yield (
            f"inputs   median {percent(facts['shown_share'])} from shown neurons and tokens "
            f"({percent(facts['shown_share_singly'])} if every other neuron counts singly)"
        )
        yield (
            f"scores   replacement {number(facts['replacement'])}, completeness {number(facts['completeness'])}, the "
            "rest counted as errors"
        )
    if "groups" in facts:
        yield f"groups   {escape(str(facts['groups']['line']))}"
    for one in facts.get("measured", ()):
        yield f"measured {one['what']}, {one['predictor']}: {_correlation(one['pearson'], one['n'])}"
    if doubt := scores_doubt(agreements(found.record)):
        yield f"note     {doubt}"


def _correlation(pearson: float | None, n: int) -> str:
    return f"Pearson {number(pearson)} (n {n})" if n >= _FEWEST_POINTS else f"too few (n {n})"


def _n_neurons(graph: Graph) -> int:
    return sum(node.kind == "neuron" for node in graph.nodes)


def _one_line(found: StoredCircuit, *, new: bool) -> str:
    prompt, facts = found.graph.prompt, found.record.facts
    foil = f" - {visible(prompt.foil)}" if prompt.foil is not None else ""
    return (
        f"{'traced' if new else 'kept':8} {escape(found.name)}: {visible(prompt.target)}{foil} {number(prompt.value)}, "
        f"{_n_neurons(found.graph):,} neurons, inputs {percent(facts['shown_share'])}"
    )


def _neuron_lines(graph: Graph) -> Iterator[str]:
    if found := strongest_neurons(graph):
        measured = "; measured: of an ablation" if any(node.measured is not None for node in found) else ""
        yield f"strongest neurons by score (over all paths, half rule; effect: of the plain gradient{measured}):"
        yield from (_neuron_line(node) for node in found)
        yield ""


def _neuron_line(node: Node) -> str:
    effect = "" if node.effect is None else f"  effect {node.effect:>+7.3f}"
    measured = "" if node.measured is None else f"  measured {node.measured:>+7.3f}"
    return (
        f"  {node.name:10} at {node.pos:<3} score {_signed(node.score, 7)}{effect}{measured}  "
        f"act {_signed(node.activation, 8)} (ref {_signed(node.reference, 7)})  {_said(node, 60)}"
    )


def _signed(value: float | None, width: int) -> str:
    """`-` if undefined."""
    return f"{'-':>{width}}" if value is None else f"{value:>+{width}.3f}"


def _path_lines(graph: Graph) -> Iterator[str]:
    if paths := strongest_paths(graph)[:_N_PATHS]:
        yield "the strongest path of each token, and what it adds to the target with norms and attention constant:"
        yield from (f"  {p.effect:>+8.3f}  {' → '.join(_node_text(node) for node in p.nodes)}" for p in paths)
        yield ""


def _node_text(node: Node) -> str:
    if node.kind == "neuron":
        said = _said(node, 40)
        return f"{node.name} at {node.pos}{f' ({said})' if said else ''}"
    return f"{visible(node.token)!r}{f' at {node.pos}' if node.kind == 'embedding' else ''}"


def _said(node: Node, longest: int) -> str:
    """What the neuron stands for, without the evidence of its explanation in brackets at the end."""
    promoted = " ".join(repr(visible(t)) for t in node.promotes[:_N_PROMOTED])
    text = without_evidence(node.label) or promoted
    return escape(text if len(text) <= longest else f"{text[: longest - 3]}...")


def _summary(node: Node) -> dict[str, Any]:
    keys = ("id", "layer", "pos", "neuron", "score", "effect", "measured", "label")
    return {key: getattr(node, key) for key in keys}
