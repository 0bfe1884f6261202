"""`--print`: a screen as text or strict JSON on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.listing import list_runs
from neuron_signatures.tui.layout.facts import fact_lines, heading, notes_record
from neuron_signatures.tui.layout.header import run_line
from neuron_signatures.tui.layout.text import ASCII_MARKS, Span, encodes, line, token_text, written_in
from neuron_signatures.tui.options import WITHOUT_PROMPTS, Options
from neuron_signatures.tui.output import Printed, json_text, text_lines
from neuron_signatures.tui.run.about import browser_printed, details, prompt_line
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun, doubts_of
from neuron_signatures.tui.run.opening import check_screen, landing
from neuron_signatures.tui.run.overall import each_prompt, overall_or_fault
from neuron_signatures.tui.run.run_facts import health_of, run_facts
from neuron_signatures.tui.tables.activations import LayerTable, StackTable, TopTable
from neuron_signatures.tui.tables.documents import document
from neuron_signatures.tui.tables.listings import RefTable, RunTable, no_runs
from neuron_signatures.tui.tables.prompts import HitTable, PromptTable
from neuron_signatures.tui.tables.ranked_list import (
    ListTable,
    ListView,
    Order,
    choose_list,
    list_header,
    list_record,
    no_list,
)
from neuron_signatures.tui.tables.results import (
    ResultTable,
    choose_result,
    no_interventions,
    read_result,
    result_printed,
)
from neuron_signatures.tui.tables.tokens import TokenView, token_view
from neuron_signatures.views.acts import layer_lines, over_prompts
from neuron_signatures.views.neurons.facts import stages_of
from neuron_signatures.views.search import find_tokens

_PRINTED_ROWS = 50  # a list may have hundreds of thousands


Screen = Callable[[OpenedRun, Cursor, Options, int], Printed]
"""Lays out a screen of a run at a cursor for a number of columns."""


def printed(options: Options, kind: str, *, columns: int, encoding: str) -> Iterator[str]:
    """Lines of the screen that the flags select. Raises `UsageError` or `BadRunError`."""
    marks = {} if all(encodes(chr(c), encoding) for c in ASCII_MARKS) else ASCII_MARKS
    with written_in(encoding):
        yield from (text.translate(marks) for text in _lines(options, kind, columns))


def _lines(options: Options, kind: str, columns: int) -> Iterator[str]:
    if options.run_dir is None:
        shown = _runs(options)
    else:
        opened = OpenedRun.open(options.run_dir)
        where, _ = landing(opened, options)
        if not opened.run.prompts:
            check_screen(options)
        shown = _SCREENS[_name(opened, options)](opened, where, options, columns)
    n = _limit(options, shown)
    if kind == "json":
        name = "runs" if options.run_dir is None else _name(opened, options)
        yield json_text(shown._replace(record={"screen": name, **shown.record}), n)
    else:
        yield from text_lines(shown, n, columns, more="--limit 0 prints all")


def _name(opened: OpenedRun, options: Options) -> str:
    return options.screen or ("browser" if opened.run.prompts else WITHOUT_PROMPTS[0])


def _limit(options: Options, shown: Printed) -> int:
    if shown.table is None:
        return 0
    most = options.limit
    if most is None:
        many = isinstance(shown.table, ListTable) or options.screen in ("neurons", "explanations", "search")
        most = _PRINTED_ROWS if many else 0
    return min(len(shown.table), most) if most else len(shown.table)


def _runs(options: Options) -> Printed:
    rows = list(list_runs(options.runs_root))
    table = RunTable(rows, empty=no_runs(options.runs_root))
    return Printed([], table, {"root": str(options.runs_root)})


def _browser(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = _view(opened, cursor, options)
    return browser_printed(view, opened.notes_of(cursor.at), options.all_tokens, options.window, columns)


def _view(opened: OpenedRun, cursor: Cursor, options: Options) -> TokenView:
    """The view at a cursor, with the statistics over all prompts. Raises `BadRunError` if it cannot be read."""
    view = token_view(opened, cursor, include_bos=options.include_bos)
    if view.fault:
        raise BadRunError(view.fault)
    prompts = over_prompts(opened.run, cursor.at, include_bos=options.include_bos)
    overall = overall_or_fault(opened.run, prompts, include_bos=options.include_bos)
    return token_view(opened, cursor, include_bos=options.include_bos, overall=overall)


def _corpus(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.corpus.printed import corpus_printed  # not at the start of the others

    return corpus_printed(opened, cursor.at, columns, most=options.limit, whole=options.all_tokens)


def _neurons(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.corpus.neurons import NeuronList, NeuronTable, Wanted, neurons_head

    found = NeuronList.arranged(opened.corpus.neurons, Wanted(query=(options.query or "").strip()))
    record = {**_where(opened), "by": found.wanted.by, "n_neurons": len(found.neurons), "n_matching": len(found.rows)}
    return Printed(neurons_head(found), NeuronTable(found), record)


def _explanation(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.explanations.printed import explanation_printed  # not at the start of the others

    return explanation_printed(opened, cursor.at, columns)


def _simulated(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.scores.printed import read_simulated, simulated_printed

    found = read_simulated(opened, cursor.at, name=options.list_name or "")
    names = [s.name for s in found.options]
    if options.list_name and options.list_name not in names:
        there = f"there are {', '.join(names)}" if names else found.why
        raise UsageError(f"no scores {options.list_name[:80]!r} predict activations of {cursor.at.label}; {there}")
    return simulated_printed(opened, found, columns, most=options.limit, whole=options.all_tokens)


def _explanations(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.explanations.printed import explanations_printed

    return explanations_printed(opened, (options.query or "").strip())


def _prompts(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    table = PromptTable(opened.run.prompts, opened.predicted)
    return Printed([run_line(opened.run, columns)], table, _where(opened), cursor.prompt)


def _layers(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    prompt = opened.prompt(cursor)
    rows = list(layer_lines(opened.run, prompt, include_bos=options.include_bos))
    view = token_view(opened, cursor, include_bos=options.include_bos)
    record = {**_where(opened), "prompt_id": prompt.probe_id, "include_bos": options.include_bos}
    return Printed([run_line(opened.run, columns), prompt_line(view)], LayerTable(rows, prompt), record)


def _stack(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    rows = list(each_prompt(opened.run, cursor.at, include_bos=options.include_bos))
    if all(r.fault for r in rows):
        raise BadRunError(rows[0].fault_line)
    table = StackTable(opened, cursor.at, include_bos=options.include_bos)
    table.add(rows)
    how = {"scale": table.scaling.full, "scale_is_relative": table.scaling.spread is not None}
    record = {**_where(opened), **cursor.at._asdict(), "include_bos": options.include_bos, **how}
    legend = table.legend(columns)
    head = [run_line(opened.run, columns), *heading(f"{cursor.at.label} on every prompt")]
    return Printed([*head, *([line(Span(legend, "dim"))] if legend else [])], table, record)


def _top(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = token_view(opened, cursor, include_bos=options.include_bos)
    table = TopTable(opened.top(cursor))
    record = {"prompt_id": view.prompt.probe_id, "pos": cursor.pos, "token": view.prompt.tokens[cursor.pos]}
    where = line(f"top neurons at token {cursor.pos}/{view.prompt.seq_len - 1} ",
                 Span(token_text(view.prompt.tokens[cursor.pos]), "token"))  # fmt: skip
    return Printed([prompt_line(view), where], table, {**_where(opened), **record})


def _lists(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    table = RefTable(opened.refs(), no_list(opened.run, "ranked list"), opened.validations())
    return Printed([run_line(opened.run, columns)], table, _where(opened))


def _list(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = ListView.read(opened, choose_list(opened, options.screen or "", options.list_name))
    if options.query:
        view = view.arranged(Order(query=options.query.strip()))
    return Printed(list_header(view, columns), ListTable(view, opened.run), {**_where(opened), **list_record(view)})


def _interventions(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    if options.list_name is None:
        table = ResultTable(opened.interventions(), no_interventions(opened.run, cursor))
        return Printed([run_line(opened.run, columns)], table, _where(opened))
    ref = choose_result(opened, options.list_name)
    found = read_result(opened.run.path, ref.stem)
    return result_printed(opened.run.path, ref, found, document(found.record, columns, single=found.single), None)


def _circuit(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.circuit.printed import list_printed  # not at the start of the others

    return list_printed(opened, cursor.prompt, options.list_name, (options.query or "").strip(), columns)


def _notes(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    notes, stages = opened.notes_of(cursor.at), stages_of(opened.run.path)
    lines = details(_view(opened, cursor, options), notes, stages, columns, plain=True)
    record = {**_where(opened), **cursor.at._asdict(), **notes_record(notes, stages)}
    return Printed([*heading(cursor.at.label), *lines, run_line(opened.run, columns)], None, record)


def _at_large(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.at_large.lines import at_large_facts, at_large_record  # not at the start of the others
    from neuron_signatures.tui.at_large.related import RelatedTable, nothing_related
    from neuron_signatures.views.at_large.neuron import read_at_large
    from neuron_signatures.views.at_large.related import related_of

    known = read_at_large(opened.run.path, cursor.at)
    head = [*heading(f"{cursor.at.label} at large"), *fact_lines(at_large_facts(known), columns)]
    table = RelatedTable(related_of(known), nothing_related(opened.run.path, known))
    return Printed(head, table, {**_where(opened), **cursor.at._asdict(), "at_large": at_large_record(known)})


def _search(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    from neuron_signatures.tui.search.printed import found_printed  # not at the start of the others
    from neuron_signatures.tui.search.ways import way_of

    if not options.query:
        raise UsageError("--screen search needs --query TEXT")
    by = way_of(opened.run, options.by)
    record = {**_where(opened), "by": by, "query": options.query}
    if by != "prompts":
        return found_printed(opened, options.query, by, options.limit, record)
    hits = list(find_tokens(opened.run, options.query))
    record |= {"n_hits": len(hits)}
    return Printed([run_line(opened.run, columns)], HitTable(hits, opened.run), record)


def _run(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    m = {**opened.run.manifest.model_dump(exclude={"prompts"}), "format_version": opened.run.format_version}
    health = health_of(opened.run)
    more = {"doubts": doubts_of(opened.run), "stages": stages_of(opened.run.path), "manifest": m}
    record = {**_where(opened), **health._asdict(), **more}
    return Printed(fact_lines(run_facts(opened.run, health), columns), None, record)


def _where(opened: OpenedRun) -> dict[str, Any]:
    return {"run": str(opened.run.path), "model": opened.run.manifest.model_name}


_SCREENS: dict[str, Screen] = {
    "browser": _browser, "corpus": _corpus, "neurons": _neurons, "explanation": _explanation,
    "simulated": _simulated,
    "explanations": _explanations, "prompts": _prompts, "layers": _layers,
    "stack": _stack, "top": _top, "lists": _lists, "peaks": _list, "influence": _list, "signatures": _list,
    "contrast": _list, "notes": _notes, "search": _search, "interventions": _interventions, "run": _run,
    "at_large": _at_large, "circuit": _circuit,
}  # fmt: skip
