"""The scores of one explanation as a small table, escaped HTML, and what the marks of its figure are."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from neuron_signatures.dashboard.scores.frames import SCORE_HELP, row_note
from neuron_signatures.dashboard.widgets.elements import as_html
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.scores.shown import ShownScore
from neuron_signatures.views.scores.texts import interval_text, short_number

STYLE = """<style>
.ns-sco{overflow-x:auto;font-size:.8rem;line-height:1.5}
.ns-sco table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.ns-sco th{font-weight:400;opacity:.65;text-align:right;padding:0 .7em .1em 0;white-space:nowrap;cursor:help}
.ns-sco td{text-align:right;padding:.1em .7em .1em 0;white-space:nowrap;border-top:1px solid rgba(148,163,184,.3)}
.ns-sco th:first-child,.ns-sco td:first-child,.ns-sco td.w{text-align:left}
.ns-sco td.w{white-space:normal;border:0;padding:0 .7em .25em 0}
.ns-sco summary{cursor:pointer;margin:.2em 0}
.ns-sco .b{font-weight:700}.ns-sco .s{opacity:.65}
</style>"""
FIGURE_KEY = (
    "Figure: ● the first score of each scorer with its 95 % interval; grey bar: null, mean ± standard deviation; "
    "✕ shuffled words; ◇ look-up rule; ▲ ceiling."
)
_COLUMNS: dict[str, Callable[[ShownScore], str]] = {
    "value": lambda s: short_number(s.row.value),
    "95 %": lambda s: interval_text(s.row.ci_low, s.row.ci_high),
    "null": lambda s: _null(s),
    "lift": lambda s: "" if s.row.lift is None else short_number(s.row.lift),
    "p": lambda s: "" if s.row.null_p is None else f"{s.row.null_p:.2g}",
    "n": lambda s: f"{s.row.n:,}",
    "active": lambda s: "" if s.row.n_positive is None else f"{s.row.n_positive:,}",
    "coverage": lambda s: "" if s.row.coverage is None else f"{s.row.coverage:.0%}",
}
_HELP = {
    **SCORE_HELP,
    "95 %": "95 % interval over documents.",
    "null": "What explanations of other neurons score on this layer: mean ± standard deviation (draws).",
}
_CONTROL_NAMES = {"text": 'the word "text"', "lookup": "look-up rule", "empty": "no explanation"}


def score_tables(scores: Sequence[ShownScore]) -> str:
    """The first score of each scorer, and the others folded below them."""
    first, others = ([s for s in scores if s.is_headline == wanted] for wanted in (True, False))
    if not first or not others:
        return score_table(scores)
    names = f"{len(others)} further score{'' if len(others) == 1 else 's'}"
    return (
        f'{score_table(first)}<div class="ns-sco"><details><summary class="s">{names}</summary>{score_table(others)}'
        "</details></div>"
    )


def score_table(scores: Sequence[ShownScore]) -> str:
    """One row per score, with its controls below it; without columns that are blank in every row."""
    columns = {name: [of(s) for s in scores] for name, of in _COLUMNS.items()}
    shown = [name for name, texts in columns.items() if any(texts)]
    head = "".join(f'<th title="{html.escape(_HELP[name])}"{_kind(name)}>{name}</th>' for name in shown)
    rows = [
        f"<tr><td>{_name(s)}</td>{''.join(f'<td{_kind(n)}>{as_html(columns[n][i])}</td>' for n in shown)}</tr>"
        + _below(s, len(shown) + 1)
        for i, s in enumerate(scores)
    ]
    return f'{STYLE}<div class="ns-sco"><table><tr><th>score</th>{head}</tr>{"".join(rows)}</table></div>'


def _name(s: ShownScore) -> str:
    name = as_html(brief(s.row.score or "-"))
    return f'<span class="b">{name}</span> <span class="s">{as_html(brief(s.scorer))}</span>' if s.is_headline else name


def _null(s: ShownScore) -> str:
    r = s.row
    if not r.null_n:
        return ""
    spread = "" if r.null_sd is None else f" ± {short_number(r.null_sd)}"
    return f"{short_number(r.null_best)}{spread} ({r.null_n:,})"


def _below(s: ShownScore, n_columns: int) -> str:
    """The controls and the note of a score, as a row of its own; empty without any."""
    controls = [f"{_CONTROL_NAMES.get(name, name)} {short_number(value)}" for name, value in s.controls]
    text = "; ".join(filter(None, [f"controls: {', '.join(controls)}" if controls else "", row_note(s)]))
    return f'<tr class="s"><td class="w" colspan="{n_columns}">{as_html(text)}</td></tr>' if text else ""


def _kind(name: str) -> str:
    return ' class="b"' if name == "value" else ""
