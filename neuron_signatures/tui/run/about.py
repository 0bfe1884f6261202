"""What stands above and below the token table: the neuron, what it writes, where it is strongest, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.runs.names import spans
from neuron_signatures.tui.layout.coloured import Coloured, flowing, legend, on_one_line
from neuron_signatures.tui.layout.facts import (
    Fact,
    explained_line,
    fact_lines,
    more_facts,
    signed,
    write_facts,
    written_here,
)
from neuron_signatures.tui.layout.header import Peak, neuron_line, run_line, statistics, writes_line
from neuron_signatures.tui.layout.text import (
    Line,
    Span,
    line,
    line_text,
    number,
    safe,
    sign_style,
    token_text,
    width,
    wrap,
)
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import Notes
from neuron_signatures.tui.run.overall import N_STRONGEST, Extreme, Overall, Passage
from neuron_signatures.tui.tables.tokens import TokenTable, TokenView

_PRINTED_LINES = 12
"""Lines of text that `--print` shows around the cursor."""


def header(view: TokenView, notes: Notes | None, columns: int) -> list[Line]:
    """The neuron and its activation, what it writes with the sign that it has here, and the prompt."""
    m, p, cursor = view.run.manifest, view.prompt, view.cursor
    neuron = neuron_line(
        cursor.at.label, Span(number(view.act) or "unread", sign_style(view.act) or "mark"),
        layers=f" of layers {spans(view.run.layers)} x {m.d_mlp}", where=f"{cursor.pos}/{p.seq_len - 1}",
        token=token_text(p.tokens[cursor.pos]), token_id=f" (id {p.token_ids[cursor.pos]})",
        always=_always_on(view), columns=columns,
    )  # fmt: skip
    return [neuron, _writes(view, notes, columns), prompt_line(view)]


def prompt_line(view: TokenView) -> Line:
    """Index of the prompt and of the last, id, prediction."""
    p, index = view.prompt, view.cursor.prompt
    which = line(Span("prompt ", "dim"), Span(f"{index}/{len(view.run.prompts) - 1} ", "mark"), Span(safe(p.probe_id)))
    return (*which, Span(f"  {view.predicted}", "title")) if view.predicted else which


def statistics_lines(view: TokenView, columns: int) -> list[Line]:
    """Statistics on this prompt, then over all prompts."""
    if view.fault:
        return _wrapped("", f"cannot be read: {view.brief}", columns)
    fault = view.overall.fault if view.overall else ""
    over_all = (
        _wrapped("all prompts  ", f"cannot be read: {fault}", columns) if fault else [_all_prompts(view, columns)]
    )
    return [_this_prompt(view, columns), *over_all]


def passage_line(view: TokenView, passage: Passage, columns: int, *, plain: bool) -> Line:
    """A prompt with a large activation: the value, where it is, and the coloured text around it."""
    tokens = view.run.prompts[passage.prompt].tokens[passage.first : passage.first + len(passage.values)]
    text = Coloured(tokens, view.scaling.shown(passage.values), passage.counts, view.scaling.full)
    where = line(Span(f"{number(passage.act, 3):>7}", sign_style(passage.act)),
                 Span(f" {f'#{passage.prompt}:{passage.pos}':7} ", "dim"))  # fmt: skip
    free = columns - sum(width(s.text) for s in where)
    return (*where, *on_one_line(text, free, passage.pos - passage.first, plain=plain))


def passage_lines(view: TokenView, n: int, columns: int, *, plain: bool) -> list[Line]:
    """The `n` prompts with the largest |act|, with a heading; of a neuron that has none, only that."""
    if n < 1 or view.fault:
        return []
    if view.overall is None:
        return [line(Span("strongest prompts  ", "title"), Span("reading ...", "dim"))]
    strongest = view.overall.strongest
    if not strongest:
        return [line(Span("strongest prompts  ", "title"), Span("none", "dim"))]
    head = line(Span("strongest prompts  ", "title"), Span(legend(view.scaling.words(), plain=plain), "dim"))
    head = head if width(line_text(head)) <= columns else head[:1]
    return [head, *(passage_line(view, p, columns, plain=plain) for p in strongest[: n - 1])]


def details(view: TokenView, notes: Notes | None, stages: Sequence[str], columns: int, *, plain: bool) -> list[Line]:
    """What the neuron writes, its strongest prompts, statistics, then what the results say about it."""
    writes = [Fact("promotes", "reading ...", "dim")] if notes is None else write_facts(notes, view.act, sources=True)
    always = [line(Span(x, "warn")) for x in _always_on(view)[:1] if x]
    more = [] if notes is None else fact_lines(more_facts(notes, stages), columns)
    return [
        *fact_lines(writes, columns), (), *passage_lines(view, N_STRONGEST + 1, columns, plain=plain), (),
        *statistics_lines(view, columns), *always, (), *more,
    ]  # fmt: skip


def browser_printed(view: TokenView, notes: Notes | None, all_tokens: bool, window: int, columns: int) -> Printed:
    """The browser without colours: head, text, strongest prompts, statistics, then the table."""
    text = flowing(view.coloured, columns, _PRINTED_LINES, plain=True)
    strongest = passage_lines(view, 4, columns, plain=True)
    table = TokenTable(view, None if all_tokens else window)
    head = header(view, notes, columns)
    if notes is not None and notes.explained is not None:
        head.insert(2, explained_line(notes, "-" if (view.act or 0) < 0 else "+", columns))
    lines = [*head, *text, (), *strongest, *statistics_lines(view, columns),
             run_line(view.run, columns)]  # fmt: skip
    return Printed(lines, table, {**summary(view), **_written_record(view, notes)}, table.cursor_row)


def copied_text(view: TokenView, notes: Notes | None) -> str:
    """The neuron's name and what it writes, escaped, on one line."""
    record, name = _written_record(view, notes), view.cursor.at.label
    if record["promotes"] is None:
        return name
    sides = (f"{side} {' '.join(token_text(x['token']) for x in record[side])}" for side in record)
    sign = "negative" if (view.act or 0) < 0 else "positive"
    return f"{name}  {'; '.join(sides)} (with a {sign} activation)"


def summary(view: TokenView) -> dict[str, Any]:
    """The header as data."""
    m, p, cursor = view.run.manifest, view.prompt, view.cursor
    return {
        "run": str(view.run.path), "format_version": view.run.format_version, "model": m.model_name,
        "model_revision": m.model_revision, "hook": m.hook_name, "layers": view.run.layers, "d_mlp": m.d_mlp,
        "prompt_index": cursor.prompt, "n_prompts": len(view.run.prompts), "prompt_id": p.probe_id, "text": p.text,
        "layer": cursor.layer, "neuron": cursor.neuron, "pos": cursor.pos, "token": p.tokens[cursor.pos],
        "prediction": view.predicted or None, "include_bos": view.include_bos, "scale": view.scaling.full,
        "scale_of": view.scaling.of, "scale_is_relative": view.scaling.spread is not None,
        "stats": view.stats._asdict() if view.stats else None,
        "all_prompts": None if view.overall is None else _overall_record(view, view.overall),
        "fault": view.fault or None,
    }  # fmt: skip


def _written_record(view: TokenView, notes: Notes | None) -> dict[str, Any]:
    scores = written_here(notes, view.prompt.probe_id, view.cursor.pos) if notes else None
    if scores is None:
        return {"promotes": None, "suppresses": None}
    here = signed(scores, view.act)
    return {side: [x._asdict() for x in getattr(here, side)] for side in ("promotes", "suppresses")}


def _always_on(view: TokenView) -> Sequence[str]:
    """What the header says about a neuron that is always on, longest first."""
    spread = view.overall.spread if view.overall else None
    if spread is None or not spread.always_on:
        return ("",)
    return spread.always_on_text(), f"always on ({spread.always_on})"


def _writes(view: TokenView, notes: Notes | None, columns: int) -> Line:
    if notes is None:
        return line(Span("promotes reading ...", "dim"))
    scores = written_here(notes, view.prompt.probe_id, view.cursor.pos)
    if scores is None:
        return line(Span("no write scores of this neuron; d says how to make them", "dim"))
    here = signed(scores, view.act)
    up, down = ([token_text(x.token) for x in side] for side in (here.promotes, here.suppresses))
    return writes_line(up, down, columns)


def _wrapped(label: str, text: str, columns: int) -> list[Line]:
    parts = wrap(safe(text), columns - len(label))
    return [line(Span(label if i == 0 else " " * len(label), "dim"), Span(x, "warn")) for i, x in enumerate(parts)]


def _this_prompt(view: TokenView, columns: int) -> Line:
    s, tokens = view.stats, view.prompt.tokens
    assert s is not None
    head = Span("this prompt  ", "dim")
    if s.n == 0 or s.max is None or s.max_pos is None or s.min is None or s.min_pos is None:
        why = "no finite value" if s.n_nonfinite else "only the first position; i includes it"
        return line(head, Span(f"no value included: {why}", "warn"))
    high = Peak(s.max, f"at {s.max_pos}", token_text(tokens[s.max_pos]))
    low = Peak(s.min, f"at {s.min_pos}", token_text(tokens[s.min_pos]))
    return statistics("this prompt", s.mean, s.std, high, low, n_nonfinite=s.n_nonfinite, digits=4, columns=columns)


def _all_prompts(view: TokenView, columns: int) -> Line:
    overall = view.overall
    head = Span("all prompts  ", "dim")
    if overall is None:
        return line(head, Span("reading ...", "dim"))
    bad = (Span(f"  {overall.n_nonfinite} not finite", "warn"),) if overall.n_nonfinite else ()
    if overall.max is None or overall.min is None:
        return line(head, Span("no value included", "warn"), *bad)
    high, low = (
        Peak(e.value, f"#{e.prompt}:{e.pos}", token_text(view.run.prompts[e.prompt].tokens[e.pos]))
        for e in (overall.max, overall.min)
    )
    mean, std = (overall.spread.mean, overall.spread.std) if overall.spread else (None, None)
    return statistics("all prompts", mean, std, high, low, n_nonfinite=overall.n_nonfinite, digits=3, columns=columns)


def _overall_record(view: TokenView, overall: Overall) -> dict[str, Any]:
    def extreme_record(e: Extreme | None) -> dict[str, Any] | None:
        if e is None:
            return None
        p = view.run.prompts[e.prompt]
        token = {"pos": e.pos, "token": p.tokens[e.pos]}
        return {"value": e.value, "prompt_index": e.prompt, "prompt_id": p.probe_id, **token}

    spread = overall.spread
    return {
        "n_prompts": overall.n_prompts, "n": overall.n, "n_nonfinite": overall.n_nonfinite,
        "max": extreme_record(overall.max), "min": extreme_record(overall.min),
        "mean": spread and spread.mean, "std": spread and spread.std,
        "always_on": (spread and spread.always_on) or None,
        "limit": overall.limit._asdict(), "relative_limit": overall.relative_limit._asdict(),
        "strongest": [{"prompt_index": p.prompt, "pos": p.pos, "act": p.act} for p in overall.strongest],
        "fault": overall.fault or None,
    }  # fmt: skip
