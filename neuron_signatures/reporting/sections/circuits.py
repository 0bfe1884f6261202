"""Circuits: how neurons pass the prediction from the tokens to the answer, and what tests of them found."""

from __future__ import annotations

import functools
from collections.abc import Callable

from neuron_signatures.reporting.circuit_parts import (
    common_part,
    curves_part,
    edges_table,
    figures,
    nodes_table,
    paths_table,
    swaps_part,
)
from neuron_signatures.reporting.html import Content, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import bullet_list, facts, note, p, problem
from neuron_signatures.reporting.section import Section
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.checks import (
    agreement_words,
    agreements,
    scores_doubt,
    swap_words,
    tested_sentences,
)
from neuron_signatures.views.circuit.common import read_common
from neuron_signatures.views.circuit.labels import target_name
from neuron_signatures.views.circuit.opened import CircuitRef, OpenedCircuit, circuit_refs, open_circuit
from neuron_signatures.views.interventions.sheets import share_text, signed_text

TITLE = "How do the neurons make the answer?"
_MOST, _BROKEN = 3, 5
_PATHS, _NODES = 12, 15
_NOT_SHOWN = (
    "Why attention looks where it does: patterns are constant here, so what queries and keys respond to (QK) is not in "
    "any edge.",
    "How norms rescale: their scales are constant, so that a neuron which changes a norm has no edge for it.",
    "What a neuron would do elsewhere: the circuit is of this prompt and this reference alone.",
    "Single neurons outside the graph: they, and all biases, are summed in the rest nodes.",
)  # fmt: skip


def circuits(run: ReportRun) -> Section | None:
    refs = circuit_refs(run.run.path)
    if not refs:
        return None
    lead = join([
        "A circuit shows which neurons act on which. An edge is what one node ", el("b", "adds directly"),
        " to another, with attention patterns and the scales of norms constant; all that a node receives sums to its "
        "value. Direct edges predict poorly what an ablation does in the model as it is, so total and measured effects "
        "stand beside them where they were computed.",
    ])  # fmt: skip
    own = run.choice.prompt.probe_id if run.choice.prompt else ""
    readable = sorted((r for r in refs if r.prompt is not None), key=lambda r: r.prompt is None or
                      r.prompt.prompt_id != own)  # fmt: skip
    body: list[Html] = [problem(f"{brief(r.name)}: {r.problem}") for r in refs if r.problem][:_BROKEN]
    short: list[Html] = []
    for ref in readable[:_MOST]:
        read = attempt(functools.partial(_opened, run, ref))
        if read.value is None:
            body.append(problem(read.problem))
            continue
        body.append(_one(run, read.value))
        short += _in_short(read.value)
    for ref in [r for r in refs if r.is_common][:_MOST]:
        common = attempt(functools.partial(_common, run, ref))
        body.append(problem(common.problem) if common.value is None else common.value)
    if readable:
        body += [el("h3", "What edges do not show"), bullet_list(_NOT_SHOWN)]
    if len(readable) > _MOST:
        body.append(p(f"{_MOST} of {len(readable):,} circuits of the run are shown, those of this prompt first.",
                      class_="small"))  # fmt: skip
    return Section("circuits", TITLE, lead, body, short[:1]) if body else None


def _opened(run: ReportRun, ref: CircuitRef) -> OpenedCircuit:
    return open_circuit(run.run.path, ref.name, run.run.manifest)


def _common(run: ReportRun, ref: CircuitRef) -> Html:
    found = read_common(run.run.path, ref.name)
    late = [note("bad", "A circuit was traced again since this was made.")] if found.outdated else []
    warned = [note("warn", brief(w)) for w in found.record.warnings[:5]]
    return el("article", common_part(found, min(_NODES, run.detail.rows)), *late, *warned, class_="card")


def _one(run: ReportRun, found: OpenedCircuit) -> Html:
    doubt = scores_doubt(agreements(found.stored.record))
    warned = [*([doubt[:1].upper() + doubt[1:]] if doubt else []), *found.problems, *found.stored.record.warnings[:5]]
    n = min(_NODES, run.detail.rows)
    parts: list[Content] = [
        el("h3", brief(found.stored.name)), p(*_what(found)), *(note("warn", brief(w)) for w in warned),
        *figures(found), facts(_facts(found)), paths_table(found, min(_PATHS, run.detail.rows)), nodes_table(found, n),
        edges_table(found, run.detail.rows), *_tests(run, found),
    ]  # fmt: skip
    return el("article", *parts, class_="card")


def _what(found: OpenedCircuit) -> list[Content]:
    prompt = found.prompt
    foil = f" and not {visible(prompt.foil)}" if prompt.foil is not None else ""
    what = "difference of the two logits" if prompt.foil is not None else "logit"
    return [
        el("b", f"{visible(prompt.target)}{foil}"), f" after “{brief(prompt.text)}”: probability "
        f"{_known(prompt.target_probability, share_text)}, {what} {_known(prompt.value, signed_text)}.",
    ]  # fmt: skip


def _known(value: float | None, text: Callable[[float], str]) -> str:
    return "undefined" if value is None else text(value)


def _facts(found: OpenedCircuit) -> list[tuple[Content, Content]]:
    graph = found.stored.graph
    n = {kind: sum(node.kind == kind for node in graph.nodes) for kind in ("neuron", "embedding", "rest")}
    shares = [(name, found.fact(key)) for name, key in (
        ("replacement", "replacement"), ("completeness", "completeness"),
        ("of what a node receives, from shown nodes", "shown_share_singly"),
    )]  # fmt: skip
    cancels = found.fact("cancellation")
    kept = [f"{name} {found.setting(key)}" for name, key in (("nodes", "node_share"), ("edges", "edge_share"))
            if found.setting(key)]  # fmt: skip
    return [
        ("nodes", f"{n['neuron']} neurons, {n['embedding']} tokens, {n['rest']} rest nodes"),
        ("edges", f"{len(graph.edges):,}"),
        ("kept share of influence", ", ".join(kept)),
        ("reference", brief(found.reference)),
        *((name, share_text(value)) for name, value in shares if value is not None),
        *(("beside ablations", brief(words)) for words in agreement_words(agreements(found.stored.record))),
        ("inputs over their sum", f"{cancels:.1f}, the median: this much cancels" if cancels is not None else ""),
    ]  # fmt: skip


def _tests(run: ReportRun, found: OpenedCircuit) -> list[Content]:
    checks = found.checks
    if checks is None:
        why = "whether its neurons are enough, and whether the answer follows its groups, is not known."
        return [note("warn", f"This circuit was not tested: {why}")]
    warned = [note("warn", brief(w)) for w in checks.record.warnings[:5]]
    said = [note("plain", f"{words[:1].upper()}{words[1:]}.") for words in tested_sentences(checks)]
    return [*warned, *said, curves_part(checks), swaps_part(checks, run.detail.rows)]


def _in_short(found: OpenedCircuit) -> list[Html]:
    checks = found.checks
    tested = [] if checks is None else tested_sentences(checks)
    if checks is None or not tested:
        return []
    words = [*tested[:1], *(brief(w) for w in swap_words(checks.swaps)[:2])]
    return [join([el("b", f"Circuit of {target_name(found.prompt)}: "), f"{'; '.join(words)}."])]
