"""The heading of a circuit: what it explains, how well it holds, how it was made, and what to doubt."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.tui.layout.text import (
    Line,
    Span,
    beginning,
    line,
    line_text,
    number,
    safe,
    token_text,
    width,
    wrap,
)
from neuron_signatures.views.circuit.checks import (
    agreement_words,
    agreements,
    scores_doubt,
    swap_words,
    tested_sentences,
)
from neuron_signatures.views.circuit.opened import OpenedCircuit

NOT_SHOWN = (
    "edges do not show: how attention patterns come about (QK) and how norms rescale; both are constant here, "
    "and total and measured effects are of the model as it is"
)


def answer_spans(prompt: Prompt) -> Line:
    """`·Austin 99.5 % against ·Sacramento 0.1 %  value +12.3`."""
    foil: Line = ()
    if prompt.foil is not None:
        share = "" if prompt.foil_probability is None else f" {prompt.foil_probability:.1%}"
        foil = line(Span(" against ", "dim"), Span(token_text(prompt.foil), "token"), share)
    what = "logit" if prompt.foil is None else "logit difference"
    target = Span(token_text(prompt.target), "token")
    probability = "" if prompt.target_probability is None else f" {prompt.target_probability:.1%}"
    value = "" if prompt.value is None else f"  {what} {number(prompt.value, 3)}"
    return line(target, probability, *foil, Span(value))


def circuit_head(opened: OpenedCircuit, names: Sequence[str], columns: int, *, whole: bool = False) -> list[Line]:
    """Lines in order of importance. `names` are all circuits of the run. `whole`: long lines are wrapped, not cut."""
    lines = _lines(opened, names, columns)
    return wrapped(lines, columns) if whole else lines


def wrapped(lines: Sequence[Line], columns: int) -> list[Line]:
    """The lines that fit as they are, the others in several."""
    return [part for x in lines for part in _wrapped(x, columns)]


def _lines(opened: OpenedCircuit, names: Sequence[str], columns: int) -> list[Line]:
    stored = opened.stored
    place = f" {names.index(stored.name) + 1} of {len(names)}" if stored.name in names and len(names) > 1 else ""
    title = line(Span(f"circuit {beginning(stored.name)}", "title"), Span(place, "dim"), "  ",
                 *answer_spans(opened.prompt))  # fmt: skip
    prompt = line(Span(f"prompt {beginning(opened.prompt.prompt_id)}  ", "dim"), Span(beginning(opened.prompt.text)))
    tests = _tests(opened, columns)
    lines = [title, prompt, tests[0], _settings(opened), *tests[1:]]
    lines += [line(Span(safe(words))) for words in agreement_words(agreements(stored.record))]
    lines += [line(Span(safe(words))) for words in (swap_words(opened.checks.swaps) if opened.checks else ())]
    doubt = scores_doubt(agreements(stored.record))
    warned = [
        *([doubt] if doubt else []),
        *opened.problems,
        *stored.record.warnings,
        *(opened.checks.record.warnings if opened.checks else ()),
    ]
    lines += [line(Span(beginning(text), "warn")) for text in warned]
    return [*lines, line(Span(NOT_SHOWN, "dim"))]


def _wrapped(x: Line, columns: int) -> list[Line]:
    """The line as it is if it fits, else in several, each in the style of its last part."""
    text = line_text(x)
    return [x] if width(text) <= columns else [line(Span(part, x[-1].style)) for part in wrap(text, columns)]


def _tests(opened: OpenedCircuit, columns: int) -> list[Line]:
    whole, short = ([] if opened.checks is None else tested_sentences(opened.checks, brief=b) for b in (False, True))
    if not whole:
        return [line(Span("not tested, so whether these neurons are enough is not known: trace with --checks", "warn"))]
    return [line(Span(a if width(a) <= columns else b)) for a, b in zip(whole, short, strict=True)]


def _settings(opened: OpenedCircuit) -> Line:
    graph = opened.stored.graph
    n = {kind: sum(node.kind == kind for node in graph.nodes) for kind in ("neuron", "embedding", "rest")}
    parts = [f"{len(graph.nodes)} nodes ({n['neuron']} neurons, {n['embedding']} tokens, {n['rest']} rest nodes), "
             f"{len(graph.edges)} edges"]  # fmt: skip
    parts += [f"reference {beginning(opened.reference)}"] if opened.reference else []
    for name, words in (("replacement", "replacement"), ("completeness", "completeness")):
        value = opened.fact(name)
        parts += [f"{words} {value:.2f}"] if value is not None else []
    return line(Span("; ".join(parts), "dim"))
