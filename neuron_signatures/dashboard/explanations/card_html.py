"""One explanation as escaped HTML: its text, state and origin, the chain of texts that led to it, and its record."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.dashboard.widgets.elements import as_html
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.provenance import Step, badges, chain_of, provenance
from neuron_signatures.views.explanations.shown import ExplanationView
from neuron_signatures.views.explanations.texts import one_line, paragraphs, status_words

LONG = 600
"""Characters of a text that are shown at once."""
_AT_ONCE = ("sample", "score")
"""Facts that are shown at once, after the set; the others open with a click."""
_LONGEST_NAME = 40
"""Characters of an author's name that are shown at once."""
_APART = ("votes", "note", "locked")
STYLE = """<style>
.ns-exp{border-left:3px solid rgba(148,163,184,.6);padding:.15rem 0 .15rem .8rem;line-height:1.45;font-size:.875rem;
overflow-wrap:anywhere}
.ns-exp.current{border-color:#34d399}.ns-exp.human{border-color:#60a5fa}
.ns-exp .t{font-size:1rem;font-weight:500;white-space:pre-wrap}
.ns-exp.other .t{font-size:.9rem;font-weight:400}
.ns-exp .all{max-height:18rem;overflow:auto;font-weight:400;font-size:.875rem}
.ns-exp .b{margin:.2rem 0}
.ns-exp .q{display:inline-block;font-size:.75rem;line-height:1.3;padding:0 .45rem;margin:0 .3rem .1rem 0;
border:1px solid rgba(148,163,184,.8);border-radius:.6rem}
.ns-exp .q.current{border-color:#34d399;background:rgba(52,211,153,.2)}
.ns-exp .q.human{border-color:#60a5fa;background:rgba(96,165,250,.2)}
.ns-exp .q.warn{border-color:#fb923c;background:rgba(251,146,60,.15)}
.ns-exp .m,.ns-exp summary{font-size:.8rem;opacity:.75}
.ns-exp summary{cursor:pointer}.ns-exp .t summary{font-size:inherit;opacity:1}
.ns-exp ol{margin:.15rem 0 .2rem;padding-left:1.3rem;font-size:.8rem;opacity:.85}
.ns-exp ol b{font-weight:600}
.ns-exp .f{display:grid;grid-template-columns:max-content 1fr;gap:.05rem .8rem;font-size:.8rem;margin:.2rem 0}
.ns-exp .f span:nth-child(odd){opacity:.65}
</style>"""


def card(view: ExplanationView, *, is_first: bool = True) -> str:
    """An explanation that says something; without `STYLE`. `is_first`: whether it is the one to read for its pole."""
    known = provenance(view)
    line = [f"{label} {text}" for label, text in known if label in _AT_ONCE]
    who = brief(_cut(view.author))
    first = " · ".join([view.entry.set, *([who] if who != view.entry.set else []), *line])
    notes = "".join(f'<div class="m">note: {as_html(text)}</div>' for label, text in known if label == "note")
    kind = "human" if view.is_human else "current" if view.is_current else ""
    return (
        f'<div class="ns-exp {kind}{"" if is_first else " other"}">{_text(view.entry.text)}'
        f'<div class="b">{"".join(map(_badge, _badges(view, is_first=is_first)))}</div>{_chain(chain_of(view))}{notes}'
        f'<details><summary>{as_html(first)}</summary><div class="f">'
        f"{_facts([fact for fact in known if fact[0] not in _APART])}</div></details></div>"
    )


def failures(views: Sequence[ExplanationView]) -> str:
    """Explanations that failed, folded: set, status, reason, and who was asked."""
    rows = "".join(f'<div class="f">{_facts(_failure(v))}</div>' for v in views)
    return f'<div class="ns-exp other"><details><summary>{len(views):,} failed</summary>{rows}</details></div>'


def _failure(view: ExplanationView) -> list[tuple[str, str]]:
    known = dict(provenance(view))
    status = known.get("status") or "the answer is empty"
    later = ["asked again later"] if view.is_replaced else []
    about = [view.entry.set, *(known[name] for name in ("sample", "written by", "made") if name in known)]
    return [(status_words(view.entry.status), " · ".join([status, *later, *about]))]


def _text(text: str) -> str:
    lines = paragraphs(text)
    if len(text) <= LONG:
        return f'<div class="t">{as_html_lines(lines)}</div>'
    start = as_html(one_line(text[:LONG]))
    return (
        f'<div class="t"><details><summary>{start} … <span class="m">({len(text):,} characters)</span></summary>'
        f'<div class="all">{as_html_lines(lines)}</div></details></div>'
    )


def as_html_lines(lines: Sequence[str]) -> str:
    """Lines of text from data, each escaped."""
    return "<br>".join(map(as_html, lines))


def _badges(view: ExplanationView, *, is_first: bool) -> list[str]:
    found = badges(view) + ([] if view.is_finished else ["set not finished"])
    return found if is_first else ["current in its set" if b == "current" else b for b in found]


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _badge(text: str) -> str:
    kinds = {"current": "current", "edited": "human", "written": "human", "locked": "warn", "set": "warn"}
    return f'<span class="q {kinds.get(text.split(" ", 1)[0], "")}">{as_html(text)}</span>'


def _chain(steps: Sequence[Step]) -> str:
    """The texts before this one, oldest first."""
    items = "".join(
        f"<li><b>{as_html(s.how)}</b> by {as_html(s.who)}, {as_html(brief(s.created_at_utc[:10]))}: "
        f"{as_html(one_line(s.text[:LONG]))}</li>"
        for s in steps[:-1]
    )  # fmt: skip
    last = f"<li><b>{as_html(steps[-1].how)}</b> by {as_html(steps[-1].who)}: the text above</li>" if steps else ""
    return f"<ol>{items}{last}</ol>" if steps else ""


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<span>{as_html(label)}</span><span>{as_html(text)}</span>" for label, text in pairs)
