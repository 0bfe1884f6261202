"""Interventions: what was edited, what it did, and the controls that could prove it wrong."""

from __future__ import annotations

from neuron_signatures.reporting.html import Content, Html, el, join, text
from neuron_signatures.reporting.opened import Part, ReportRun, attempt
from neuron_signatures.reporting.parts import Column, facts, fold, missing, note, p, problem, sheet, table
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.side_effects import side_effects
from neuron_signatures.reporting.svg import Axes, Band, Line, Null, Scale, curves, interval_row
from neuron_signatures.reporting.swap_words import intervention_name, intervention_words
from neuron_signatures.runs.intervention_records import Controls, EffectRecord, SteerRecord, SwapRecord
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions.checks import control_lines, controls_sheet
from neuron_signatures.views.interventions.doses import doses_sheet, unsteered
from neuron_signatures.views.interventions.effects import prediction_sheet
from neuron_signatures.views.interventions.labels import (
    InterventionRecord,
    difference_name,
    pair_settings,
    settings,
)
from neuron_signatures.views.interventions.results import (
    ResultRef,
    example_flags,
    intervention_refs,
    problem_lines,
    read_intervention,
)
from neuron_signatures.views.interventions.sheets import cell_text, counted, signed_text
from neuron_signatures.views.interventions.swaps import (
    answers_sheet,
    cells_sheet,
    curve_points,
    pairs_sheet,
    shared_lines,
    summary_lines,
)

TITLE = "Interventions, with their controls"
_MOST = 12
_WIDTH = 320.0


def interventions(run: ReportRun) -> Section:
    lead = text(
        "An intervention changes neurons and looks at what the model then says. Random edits of the same size are the "
        "control: if they do as much, the effect says nothing about these neurons. p is the share of random edits "
        "(at least one is counted) with an effect at least as large."
    )
    found = attempt(lambda: intervention_refs(run.run.path, run.run.manifest))
    if found.value is None:
        return Section("interventions", TITLE, lead, [problem(found.problem)])
    refs = found.value
    body = [problem(line) for line in problem_lines(refs)[:20]]
    readable = [r for r in refs if not r.problem]
    if not readable:
        body.append(_none(run))
        return Section("interventions", TITLE, lead, body)
    reads = [(ref, _read(run, ref)) for ref in readable[:_MOST]]
    body += [_one(run, ref, read) for ref, read in reads]
    if len(readable) > _MOST:
        body.append(p(f"The newest {_MOST} of {len(readable)} are shown."))
    return Section("interventions", TITLE, lead, body, _short(reads))


def _read(run: ReportRun, ref: ResultRef) -> Part[InterventionRecord]:
    return attempt(lambda: read_intervention(run.run.path, ref.stem))


def _none(run: ReportRun) -> Html:
    prompt = run.choice.prompt
    return missing(
        "No intervention was made. This command looks for the fewest neurons that swap the answer for that of "
        "another prompt:",
        run.command("poc3_intervene", *example_flags(prompt.probe_id if prompt else "ID")),
    )


def _short(reads: list[tuple[ResultRef, Part[InterventionRecord]]]) -> list[Html]:
    found = [read.value for _, read in reads[:3] if read.value is not None]
    said = [(intervention_name(r), intervention_words(r)) for r in found]
    return [join([el("b", f"{name[:1].upper()}{name[1:]}: "), " ".join(words)]) for name, words in said if words]


def _one(run: ReportRun, ref: ResultRef, read: Part[InterventionRecord]) -> Html:
    words = [ref.verdict] if read.value is None else intervention_words(read.value)
    head: list[Content] = [el("h3", brief(ref.title)), _verdict(words)]
    if read.value is None:
        return el("article", *head, problem(read.problem), class_="card")
    record = read.value
    head += [note("warn", brief(w)) for w in record.warnings[:6]]
    if isinstance(record, SwapRecord):
        inner = _swap(run, record)
    elif isinstance(record, EffectRecord):
        inner = _effect(record)
    else:
        inner = _steer(record)
    return el("article", *head, *inner, fold("settings", facts(settings(record)), printed=False), class_="card")


def _verdict(words: list[str]) -> Html | None:
    """The result, with the first sentence in bold."""
    return note("plain", el("b", words[0]), " ", " ".join(words[1:])) if words and words[0] else None


def _swap(run: ReportRun, record: SwapRecord) -> list[Html]:
    parts: list[Html] = []
    if record.summary is not None and len(record.pairs) > 1:
        parts.append(facts(summary_lines(record.summary)))
    if record.shared is not None:
        parts += [el("h4", "One list of neurons for all pairs"), facts(shared_lines(record.shared))]
        parts.append(side_effects(record.shared.side_effects))
    if len(record.pairs) > 1:
        return [*parts, fold("all pairs", sheet(pairs_sheet(record), most=run.detail.rows))]
    if not record.pairs:
        return parts
    pair = record.pairs[0]
    parts.append(facts(pair_settings(pair)))
    points = curve_points(pair)
    start = pair.difference_before
    band = list(pair.band)
    lines = [
        Line("set to the source's values", [float(q.k) for q in points], [q.difference for q in points], True),
        Line("predicted", [float(q.k) for q in points], [start + q.predicted for q in points]),
    ]
    bands = [Band([float(b.k) for b in band], [start + b.low for b in band], [start + b.high for b in band])]
    marks = [] if pair.smallest_k is None else [(float(pair.smallest_k), f"flips at {pair.smallest_k}")]
    drawn = curves(lines, Axes("activations changed, k", "", levels=(0,), marks=marks), bands if band else [],
                   label="logit difference against the number of changed activations")  # fmt: skip
    caption = (
        "Logit of the source's answer minus that of the prompt's own answer, after the first k activations were "
        "changed; above 0 the source's answer wins. Thin: what attribution predicted. Grey: random activations with "
        "changes of the same size, 5th to 95th percentile."
    )
    return [*parts, el("figure", drawn, el("figcaption", caption)), _controls(pair.controls),
            side_effects(pair.side_effects), fold("answers before and after", sheet(answers_sheet(pair))),
            fold(f"the {counted(len(pair.cells), 'changed activation')}",
                 sheet(cells_sheet(pair.cells, pair.destination.tokens), most=run.detail.rows))]  # fmt: skip


def _effect(record: EffectRecord) -> list[Html]:
    return [_controls(record.controls), side_effects(record.side_effects), sheet(prediction_sheet(record))]


def _steer(record: SteerRecord) -> list[Html]:
    doses = list(record.doses)
    start = unsteered(record)
    base = None if start is None else start.prediction.difference
    lines = [Line("response", [d.alpha for d in doses], [d.prediction.difference for d in doses], True)]
    bands = []
    if base is not None:
        nulls = [(d.alpha, d.null.low, d.null.high) for d in doses if d.null is not None]
        bands = [Band([x], [base + low], [base + high])
                 for x, low, high in nulls if low is not None and high is not None]  # fmt: skip
    drawn = curves(lines, Axes("amount, alpha", ""), bands, label="response to each amount")
    caption = (
        f"The {difference_name(record.target)} of the target for each amount (alpha = 1 is {brief(record.unit)}). Grey "
        "bars: random edits of the same size, 5th to 95th percentile."
    )
    return [el("figure", drawn, el("figcaption", caption)), side_effects(record.side_effects),
            fold("all amounts", sheet(doses_sheet(record)))]  # fmt: skip


def _controls(controls: Controls | None) -> Html:
    """The observed effect over its nulls, and the table."""
    if controls is None:
        return note("warn", "No controls were run: the effect may be that of any edit of this size.")
    nulls = [n for n in (controls.random, controls.scrambled, controls.permuted) if n is not None]
    ends = [controls.observed, 0.0, *(x for n in nulls for x in (n.low, n.high) if x is not None)]
    scale = Scale(min(ends), max(ends), 6.0, _WIDTH - 6.0)
    rows = [
        (el("span", brief(n.what), class_="text"), f"{n.n:,}", cell_text(n.p, "p"),
         interval_row(scale, controls.observed, None, None, Null(n.mean, n.low, n.high),
                      label=f"effect {controls.observed:.3g} beside {n.n} random edits"))
        for n in nulls
    ]  # fmt: skip
    said = control_lines(controls)
    return join([
        facts([("effect", signed_text(controls.observed))]),
        table([Column("control", False), Column("sets"), Column("p"),
               Column("effect (dot) over the control's 5th to 95th percentile", False)], rows,
              stacks=True) if rows else None,
        *(p(line, class_="small") for line in said), fold("controls in numbers", sheet(controls_sheet(controls))),
    ])  # fmt: skip
