"""Explanations as text and data, for `--print`, exports and copies."""

from __future__ import annotations

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.tui.explanations.document import ExplanationTable, document, head_lines
from neuron_signatures.tui.explanations.lines import explanations_record
from neuron_signatures.tui.explanations.listing import ExplanationList, ListTable, Order, list_head
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import safe
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.commands import nothing_text, people_commands
from neuron_signatures.views.explanations.texts import one_line


def explanation_printed(opened: OpenedRun, at: NeuronAt, columns: int) -> Printed:
    """Everything about the explanations of a neuron. Raises `BadRunError` if they cannot be read."""
    found, (sets, problems) = opened.explained.of(at), opened.explained.sets()
    if problems and not found.n:
        raise BadRunError(problems[0])
    scores = opened.scored.of(at)
    unread = [*problems, *scores.problems]
    lines = [*head_lines(found, sets), *fact_lines([Fact("unread", p) for p in unread], columns), ()]
    if found.n:
        lines += [r.line for r in document(found, scores, None, range(found.n), columns).rows]
        edit = people_commands(opened.run.path, found.shown[0])[0].command
        lines += [(), *fact_lines([Fact("to edit", f"{edit} (this is the id of the first one)", "dim")], columns)]
    elif not sets:
        lines += fact_lines([Fact("", nothing_text(opened.run.path))], columns, label_width=1)
    record = {"run": str(opened.run.path), "model": opened.run.manifest.model_name, **at._asdict()}
    return Printed(lines, None, {**record, "unread": unread, "explanations": explanations_record(found, scores)})


def explanations_printed(opened: OpenedRun, query: str) -> Printed:
    """The list of all explanations. Raises `UsageError` for an invalid filter, `BadRunError` for damaged logs."""
    sets, problems = opened.explained.sets()
    found = ExplanationList.arranged(opened.explained.table(), Order(query=query))
    if problems and not found.n_all:
        raise BadRunError(problems[0])
    record = {
        "run": str(opened.run.path), "model": opened.run.manifest.model_name, "query": query, "unread": list(problems),
        "n_explanations": found.n_all, "n_matching": len(found),
    }  # fmt: skip
    scored = opened.scored.headlines()
    table = ListTable(found, scored, nothing=nothing_text(opened.run.path))
    record = {**record, "scored": scored.score or None, "scorer": scored.scorer or None}
    return Printed(list_head(found, sets, problems, scored), table, record)


def copied_text(table: ExplanationTable, row: int) -> str:
    """The command of a row, otherwise the explanation that it belongs to, escaped and on one line."""
    if table.rows[row].command:
        return safe(table.rows[row].command)
    view = table.view(row)
    return "" if view is None else safe(f"{view.label}  {one_line(view.entry.text)}")
