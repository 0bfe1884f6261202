"""Drift: how the model and its neurons differ in other checkpoints or models, from `comparisons/`."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, fold, note, p, problem, table
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.svg import Axes, Band, Line, curves, key
from neuron_signatures.runs.comparisons.folder import (
    ALL_LAYERS,
    COMPARISON,
    DRIFT,
    STEPS,
    UNALIGNED,
    comparison_folder,
    list_comparisons,
)
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.tokens import brief
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.comparisons.course import (
    Checkpoint,
    CkaPoint,
    of_pair,
    read_checkpoints,
    read_cka,
    reference_of,
)

TITLE = "How does it differ from other checkpoints?"
_MOST, _N_NEURONS, _MOST_LAYERS = 3, 5, 5
"""Comparisons, neurons of each checkpoint, and layers in the figure."""
_LEAD = (
    "Neurons of this run beside those of the same index in other runs, on the tokens that all have. CKA says how alike "
    "two models represent these tokens: 1 up to rotation, 0 for unrelated ones. Debiased CKA has no upward bias from "
    "few tokens."
)


def drift(run: ReportRun) -> Section | None:
    names = list_comparisons(run.run.path)
    if not names:
        return None
    body: list[Html] = []
    for name in names[:_MOST]:
        read = attempt(functools.partial(_comparison, run, name))
        body.append(problem(read.problem) if read.value is None else read.value)
    if len(names) > _MOST:
        body.append(p(f"{len(names) - _MOST} more comparisons are in the run.", class_="small"))
    return Section("drift", TITLE, text(_LEAD), body)


def _comparison(run: ReportRun, name: str) -> Html:
    run_dir, folder = run.run.path, comparison_folder(name)
    record = folder.read_record(run_dir, COMPARISON)
    checkpoints = read_checkpoints(run_dir, name)
    points = read_cka(run_dir, name, checkpoints)
    parts = [el("h3", brief(name)), p(_what(checkpoints))]
    if folder.outdated(run_dir, record):
        parts.append(note("bad", "What it was computed from has changed since."))
    parts += [note("warn", brief(w)) for w in record.warnings[:5]]
    parts += [_figure(points, checkpoints), _cka_table(points, checkpoints), _steps(run, name, checkpoints)]
    parts.append(fold("The least correlated neurons of each checkpoint", _neurons(run, name, checkpoints)))
    n = len(folder.read_table(run_dir, UNALIGNED))
    return join([*parts, p(f"Not compared: {counted(n, 'item')}.", class_="small") if n else None])


def _what(checkpoints: Sequence[Checkpoint]) -> str:
    ref = reference_of(checkpoints)
    n = "" if ref.n_prompts is None else f", on {counted(ref.n_prompts, 'prompt')} of {ref.n_tokens or 0:,} tokens"
    return f"{counted(len(checkpoints) - 1, 'run')} beside {ref.name}, the reference{n}."


def _figure(points: Sequence[CkaPoint], checkpoints: Sequence[Checkpoint]) -> Html:
    """All layers together and some single layers, by the order of the checkpoints, over the null."""
    order = {c.number: float(i) for i, c in enumerate(checkpoints, 1)}
    layers = sorted({q.layer for q in points} - {ALL_LAYERS})
    step = max(1, -(-len(layers) // _MOST_LAYERS))
    lines = []
    for layer in [ALL_LAYERS, *layers[::step]]:
        own = sorted((order[q.checkpoint], q.debiased) for q in points if q.layer == layer and q.debiased is not None)
        if own:
            name = "all layers" if layer == ALL_LAYERS else f"layer {layer}"
            lines.append(Line(name, [x for x, _ in own], [y for _, y in own], layer == ALL_LAYERS))
    if not lines or len(lines[0].x) < 2:  # the table says as much
        return text("")
    null = sorted((order[q.checkpoint], q.null_mean, 2 * q.null_sd) for q in points
                  if q.layer == ALL_LAYERS and q.null_mean is not None and q.null_sd is not None)  # fmt: skip
    band = Band([x for x, _, _ in null], [m - s for _, m, s in null], [m + s for _, m, s in null])
    axes = Axes("row of the table", "debiased CKA", whole_x=True, levels=(0.0, 1.0))
    figure = curves(lines, axes, [band] if len(null) > 1 else [], label="debiased CKA by checkpoint")
    said = "Debiased CKA with the reference. Grey: permuted tokens, ± 2 standard deviations."
    return el("figure", key([line.name for line in lines]), figure, el("figcaption", said))


def _cka_table(points: Sequence[CkaPoint], checkpoints: Sequence[Checkpoint]) -> Html:
    columns = [Column("checkpoint", False), Column("debiased CKA"), Column("CKA"), Column("permuted tokens"),
               Column("p"), Column("loss", help="Mean loss of the next token, in nats.")]  # fmt: skip
    whole = {q.checkpoint: q for q in points if q.layer == ALL_LAYERS}
    rows = []
    for c in checkpoints:
        q = whole.get(c.number)
        interval = "" if q is None or q.low is None or q.high is None else f" [{q.low:.3f}, {q.high:.3f}]"
        null = "" if q is None or q.null_mean is None or q.null_sd is None else f"{q.null_mean:.3f} ± {q.null_sd:.3f}"
        rows.append([
            c.name + (" (reference)" if c.is_reference else ""),
            _number(q.debiased if q else None) + interval, _number(q.cka if q else None), null,
            "" if q is None or q.p is None else shown_p(q.p, q.n_null), _number(c.loss),
        ])  # fmt: skip
    return table(columns, rows)


def _steps(run: ReportRun, name: str, checkpoints: Sequence[Checkpoint]) -> Html:
    """Between which checkpoints the model changes most."""
    rows = comparison_folder(name).read_table(run.run.path, STEPS)
    own = rows[(rows["layer"] == ALL_LAYERS) & rows["change"].notna()]
    if len(own) < 2:
        return text("")
    r = own.loc[own["change"].abs().idxmax()]
    names = {c.number: c.name for c in checkpoints}
    interval = f" [{r['low']:+.3f}, {r['high']:+.3f}]" if r["low"] == r["low"] else ""
    share = f"; it is the largest step in {r['largest_share']:.0%} of the bootstrap draws" \
        if r["largest_share"] == r["largest_share"] else ""  # fmt: skip
    return p(f"The largest step is from {names.get(int(r['a']), '')} to {names.get(int(r['b']), '')}: "
             f"{r['change']:+.3f}{interval}{share}.")  # fmt: skip


def _neurons(run: ReportRun, name: str, checkpoints: Sequence[Checkpoint]) -> Html:
    ref = reference_of(checkpoints).number
    columns = [Column("checkpoint", False), Column("neuron", False), Column("Pearson"), Column("std then"),
               Column("std in the reference")]  # fmt: skip
    wanted = ("a", "b", "layer", "neuron", "pearson", "std_a", "std_b")
    rows = []
    for c in checkpoints:
        if c.is_reference:
            continue
        parts = comparison_folder(name).iter_table(run.run.path, DRIFT, columns=wanted)
        found = of_pair(parts, c.number, ref)
        for r in found.nsmallest(_N_NEURONS, "pearson").to_dict("records") if len(found) else []:
            rows.append([c.name, f"L{r['layer']}N{r['neuron']}", _number(r["pearson"]), _number(r["std_a"]),
                         _number(r["std_b"])])  # fmt: skip
    return table(columns, rows)


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3f}"
