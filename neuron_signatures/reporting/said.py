"""The explanations of one pole of a neuron, with what people say about them and their scores."""

from __future__ import annotations

from collections import Counter

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import facts, fold, lines, p, problem
from neuron_signatures.reporting.score_rows import scores_of
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.provenance import badges, chain_of, provenance
from neuron_signatures.views.explanations.shown import ExplanationView
from neuron_signatures.views.explanations.texts import one_line, paragraphs, status_words

_AT_ONCE = ("sample", "score")
_HIDDEN = ("votes", "locked", "id")
_LONGEST_NAME = 60


def pole_explanations(run: ReportRun, at: NeuronAt, pole: Pole) -> Html:
    """The current explanation of each set, the one to read first; the failed ones by status. Empty without any."""
    read = attempt(lambda: run.explanations.of(at).pole(pole))
    if read.value is None:
        return problem(read.problem)
    views = [v for v in read.value.shown if not v.is_replaced]
    current = [v for v in views if v.is_current and v.is_ok]
    failed = Counter(v.entry.status if v.entry.status != "ok" else "empty answer" for v in views if not v.is_ok)
    shown = current[: run.detail.explanations]
    parts = [_one(run, v, is_first=i == 0) for i, v in enumerate(shown)]
    others = sum(v.is_ok and not v.is_current for v in views)
    notes = [
        f"{len(current) - len(shown)} more sets" if len(current) > len(shown) else "",
        f"{others} other samples or earlier texts are not shown" if others else "",
        *(f"{n} failed: {status_words(status)}" for status, n in sorted(failed.items())),
    ]
    said = "; ".join(filter(None, notes))
    return join([*parts, p(said, class_="small") if said else None]) if parts or said else NOTHING


def _one(run: ReportRun, view: ExplanationView, *, is_first: bool) -> Html:
    known = provenance(view)
    at_once = " · ".join(f"{label} {value}" for label, value in known if label in _AT_ONCE)
    who = brief(view.author)[:_LONGEST_NAME]
    origin = " · ".join(dict.fromkeys(filter(None, (view.entry.set, who, at_once))))
    rest = [(label, value) for label, value in known if label not in _HIDDEN]
    steps = [f"{s.how} by {s.who}: {one_line(s.text[:300])}" for s in chain_of(view)[:-1]]
    return el(
        "div",
        _text(view.entry.text, run.detail.characters),
        el("div", *map(_badge, _states(view, is_first=is_first)), el("span", origin, class_="small")),
        scores_of(run, NeuronPole(view.entry.layer, view.entry.neuron, view.entry.pole), view.entry.id),
        fold("how it was made", facts(rest), lines(steps) if steps else None, printed=False),
        class_="exp first" if is_first else "exp",
    )  # fmt: skip


def _text(text: str, most: int) -> Html:
    whole = paragraphs(text[: most + 1])
    cut = len(text) > most
    if cut:
        whole = paragraphs(text[:most])
        whole.append(f"… ({len(text):,} characters)")
    return el("div", lines(whole), class_="said")


def _states(view: ExplanationView, *, is_first: bool) -> list[str]:
    found = badges(view) + ([] if view.is_finished else ["set not finished"])
    return [("to read" if is_first else "current in its set") if b == "current" else b for b in found]


def _badge(text: str) -> Html:
    kind = {"to": "good", "locked": "warn", "set": "warn", "edited": "good", "written": "good"}
    return el("span", text, class_=f"badge {kind.get(text.split(' ', 1)[0], '')}".strip())
