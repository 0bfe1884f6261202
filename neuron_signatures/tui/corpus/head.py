"""What stands above the sections of the corpus screen: the neuron, what it writes, its moments, the sections."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.units import units_size
from neuron_signatures.tui.corpus.reading import SECTIONS, Shown
from neuron_signatures.tui.layout.coloured import legend
from neuron_signatures.tui.layout.facts import explained_line, signed, written_here
from neuron_signatures.tui.layout.header import writes_line
from neuron_signatures.tui.layout.text import Line, Span, line, line_text, number, safe, size, token_text, width
from neuron_signatures.tui.run.opened_run import Notes
from neuron_signatures.tui.run.scaling import Scaling
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.evidence import Evidence


def corpus_head(
    run: Run, at: NeuronAt, corpus: CorpusMeta | None, evidence: Evidence | None, notes: Notes | None, shown: Shown,
    scaling: Scaling, columns: int, height: int, *, has_moments: bool, has_results: bool, has_explanations: bool,
    plain: bool,
) -> list[Line]:  # fmt: skip
    """Lines by importance for the height of the terminal; `evidence` is None if it cannot be read.

    `has_moments`: whether the moments stand at the side.
    `has_results`: whether the run has results of stage 2, which may say what the neuron writes.
    `has_explanations`: whether the run has explanations, of any neuron.
    """
    pole = pole_of(evidence, shown)
    tabs = tabs_line(pole, shown, columns - (width(at.label) + 2 if height < 12 else 0))
    if height < 12:
        return [line(Span(at.label, "title"), "  ", *tabs)]
    lines = [neuron_line(run, at, corpus, evidence, columns)]
    if height >= 20 and evidence is not None:
        lines += [
            *([explained_line(notes, pole, columns)] if has_explanations else []),
            *often_lines(evidence, pole),
            *([writes(notes, pole, columns)] if has_results else []),
            *([] if has_moments else [moments_line(evidence, columns)]),
        ]
        lines.append(line(Span(legend_text(scaling, plain=plain), "dim")))
    return [*lines, tabs]


def pole_of(evidence: Evidence | None, shown: Shown) -> Pole:
    """The pole that is shown."""
    return shown.pole or ("+" if evidence is None else evidence.first_pole)


def neuron_line(run: Run, at: NeuronAt, corpus: CorpusMeta | None, evidence: Evidence | None, columns: int) -> Line:
    """The neuron, its state unless it is alive, and the size of the corpus; the layers are left out if need be."""
    layers = Span(f" of layers {spans(run.layers)} x {units_size(run.manifest)}", "dim")
    state = "" if evidence is None or evidence.state == "alive" else f"  {evidence.state}"
    if evidence is not None and evidence.spread is not None and evidence.spread.always_on:
        state += f"  {evidence.spread.always_on_text('the corpus')}"
    texts = () if corpus is None else (corpus_text(corpus),)
    about = Span("".join(f"  {t}" for t in texts), "dim")
    name, warn = Span(at.label, "title"), Span(state, "warn")
    for shown in (line(name, layers, warn, about), line(name, warn, about), line(name, warn)):
        if width(line_text(shown)) <= columns:
            break
    return shown


def corpus_text(corpus: CorpusMeta) -> str:
    return f"corpus of {corpus.n_counted:,} tokens in {corpus.n_documents:,} documents"


def writes(notes: Notes | None, pole: Pole, columns: int) -> Line:
    """What the neuron promotes and suppresses with the sign of the pole."""
    if notes is None:
        return line(Span("promotes reading ...", "dim"))
    scores = written_here(notes, "", -1)
    if scores is None:
        return line(Span("no write scores of this neuron", "dim"))
    here = signed(scores, 1.0 if pole == "+" else -1.0)
    up, down = ([token_text(x.token) for x in side] for side in (here.promotes, here.suppresses))
    return writes_line(up, down, columns)


def often_lines(evidence: Evidence, pole: Pole) -> list[Line]:
    """The tokens at which the neuron is most often strongest with this sign, if it ever has it."""
    own = evidence.pole(pole)
    text = safe(own.often.text_with_share()) if own.has_sign else ""
    return [line(Span("most often on ", "dim"), Span(text, "token"))] if text else []


def tabs_line(pole: Pole, shown: Shown, columns: int) -> Line:
    """The pole, the sections with the open one in brackets, and the parts; only the open section if need be."""
    first = Span(f"pole {pole}  ", "plus" if pole == "+" else "minus")
    names = [Span(f"[{s}]" if s == shown.section else f" {s} ", "mark" if s == shown.section else "dim")
             for s in SECTIONS]  # fmt: skip
    of = Span(f"  {shown.part} only" if shown.part else "  all parts", "mark" if shown.part else "dim")
    own = names[SECTIONS.index(shown.section)]
    for found in (line(first, *names, of), line(first, own, of), line(Span(f"{pole} "), own)):
        if width(line_text(found)) <= columns:
            break
    return found


def moments_line(evidence: Evidence, columns: int) -> Line:
    """Extremes and moments; the last ones are left out where they do not fit."""
    shown: list[Span] = []
    for label, value in moment_facts(evidence):
        more = [Span(f"{label} ", "dim"), Span(f"{value}  ")]
        if shown and width("".join(s.text for s in [*shown, *more]).rstrip()) > columns:
            break
        shown += more
    return tuple(shown)


def moment_facts(evidence: Evidence) -> Sequence[tuple[str, str]]:
    """Labels and numbers; what is undefined is left out."""
    m = evidence.moments
    found = (
        ("largest", number(evidence.largest, 4)), ("smallest", number(evidence.smallest, 4)),
        ("mean", number(m.mean, 3)), ("std", size(m.std, 3)), ("skewness", number(m.skewness, 3)),
        ("kurtosis", size(m.kurtosis, 3)), ("tokens", f"{m.count:,}"),
    )  # fmt: skip
    return [(label, text) for label, text in found if text]


def legend_text(scaling: Scaling, *, plain: bool) -> str:
    """What colours and marks mean; empty without a scale."""
    found = legend(scaling.words(), plain=plain)
    return f"{found}; {'[ ]' if plain else 'underlined:'} the peak" if found else ""
