"""The corpus screen as text and data, for `--print` and exports: all sections of one neuron, without colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.records.names import PARTS, POLES, Pole
from neuron_signatures.tui.corpus.body import (
    Group,
    groups_of,
    histogram_body,
    pole_note,
    table_lines,
    token_table,
    wrapped,
)
from neuron_signatures.tui.corpus.head import legend_text, moments_line, neuron_line
from neuron_signatures.tui.corpus.passages import PassageTable, passage_record, whole_lines
from neuron_signatures.tui.layout.facts import explained_facts, explained_record, fact_lines, heading
from neuron_signatures.tui.layout.text import Line, column_widths, line, table_head, table_row
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.run.scaling import AS_IT_IS, Scaling, Wanted, corpus_scaling
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.commands import keep_command
from neuron_signatures.views.records.evidence import Evidence, SampleEvidence

_MOST = 10
"""Passages and tokens of a section in text, without `--limit`."""


def corpus_printed(
    opened: OpenedRun, at: NeuronAt, columns: int, *, most: int | None = None, whole: bool = False,
    wanted: Wanted = AS_IT_IS,
) -> Printed:  # fmt: skip
    """All sections; `most` passages of each in text (0: all), with `whole` the whole windows.

    Raises `UsageError` without records or for a neuron that is not recorded, `BadRunError` for damaged records.
    """
    corpus = opened.corpus
    evidence, sample = corpus.evidence(at, PARTS), corpus.sample(at, PARTS)
    scaling = corpus_scaling(evidence, wanted)
    n = _MOST if most is None else most or 1 << 30
    lines = [
        neuron_line(opened.run, at, corpus.records.corpus.meta, evidence, columns), moments_line(evidence, columns),
        line(legend_text(scaling, plain=True)), *wrapped(evidence.state_text, columns),
    ]  # fmt: skip
    notes = opened.notes_of(at) if opened.has_explanations else None
    if notes is not None:
        lines += [(), *fact_lines(explained_facts(notes), columns)]
    for pole in POLES:
        name = "largest" if pole == "+" else "smallest"
        lines += [(), *heading(f"{name} activations (pole {pole})"), *wrapped(pole_note(evidence, pole), columns)]
        lines += _passage_lines(groups_of(evidence, None, "strongest", pole), scaling, columns, n, whole=whole)
    if sample is None:
        keep = keep_command(opened.run.path, at, corpus.records.sampled_neurons)
        lines += [(), *wrapped(f"only the activations at the peaks are stored; this keeps all: {keep}", columns)]
    else:
        lines += _sample_lines(evidence, sample, scaling, columns, n, whole=whole)
    share = corpus.meta.histogram_share
    lines += [(), *heading("histogram"), *histogram_body(evidence, share, columns)]
    record = {"run": str(opened.run.path), "model": opened.run.manifest.model_name, **at._asdict()}
    explained = [] if notes is None else explained_record(notes)
    more = {**_record(evidence, sample, scaling, share), "explanations": explained}
    return Printed(lines, None, {**record, **more})


def _passage_lines(groups: Sequence[Group], scaling: Scaling, columns: int, n: int, *, whole: bool) -> list[Line]:
    lines: list[Line] = []
    for title, passages in groups:
        table = PassageTable(passages, scaling, columns, plain=True)
        widths = column_widths(table.columns(), columns)
        if title:
            lines.append(line(f"  {title}"))
        elif passages:
            lines.append(table_head(table.columns(), widths))
        for i, p in enumerate(passages[:n]):
            lines.append(table_row(table, i, widths, cursor=False))
            lines += whole_lines(p, scaling, columns, plain=True) if whole else []
        if len(passages) > n:
            lines.append(line(f"  ... {len(passages) - n} more; --limit 0 prints all"))
    return lines


def _sample_lines(
    evidence: Evidence, sample: SampleEvidence, scaling: Scaling, columns: int, n: int, *, whole: bool
) -> list[Line]:
    lines: list[Line] = []
    for pole in POLES:
        groups = groups_of(evidence, sample, "intervals", pole)
        if groups:
            lines += [(), *heading(f"by interval of the activation (pole {pole})")]
            lines += _passage_lines(groups, scaling, columns, n, whole=whole)
    lines += [(), *heading("random windows")]
    lines += _passage_lines(groups_of(evidence, sample, "random", "+"), scaling, columns, n, whole=whole)
    for pole in POLES[: 2 if len(sample.lookup) > n else 1]:
        lines += [(), *heading(f"tokens by mean activation{', smallest first' if pole == '-' else ''}")]
        lines += table_lines(token_table(sample, pole), columns, n)
    return lines


def _record(evidence: Evidence, sample: SampleEvidence | None, scaling: Scaling, share: int) -> dict[str, Any]:
    m, d = evidence.moments, evidence.distribution
    return {
        "state": evidence.state, "parts": list(evidence.parts), "largest": evidence.largest,
        "smallest": evidence.smallest, "scale": scaling.full, "scale_is_relative": scaling.spread is not None,
        "moments": {k: getattr(m, k) for k in ("count", "mean", "std", "skewness", "kurtosis")},
        "histogram": {"n": d.n, "of_windows": f"1/{share}", "bins": [strict(b._asdict()) for b in d.bins]},
        "strongest": {pole: [passage_record(p) for p in evidence.pole(pole).strongest] for pole in POLES},
        "intervals": None if sample is None else {pole: _intervals(sample, pole) for pole in POLES},
        "random": None if sample is None else [passage_record(p) for p in sample.random],
        "tokens": None if sample is None else [strict(t) for t in sample.lookup],
    }  # fmt: skip


def _intervals(sample: SampleEvidence, pole: Pole) -> list[dict[str, Any]]:
    return [
        {"low": i.low, "high": i.high, "passages": [passage_record(p) for p in i.passages]}
        for i in sample.intervals[pole]
    ]
