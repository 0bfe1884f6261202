"""The explanations of one pole of a neuron, with what people say about them and their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import facts, fold, lines, p, problem
from neuron_signatures.reporting.score_rows import headline_of, scores_of
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
    """The current explanations of all sets, each text once, the one to read first; the failed ones by status. Empty
    without any."""
    read = attempt(lambda: run.explanations.of(at).pole(pole))
    if read.value is None:
        return problem(read.problem)
    views = [v for v in read.value.shown if not v.is_replaced]
    failed = Counter(v.entry.status if v.entry.status != "ok" else "empty answer" for v in views if not v.is_ok)
    current = same_texts(run, views)
    shown = current[: run.detail.explanations]
    parts = [_one(run, same, is_first=i == 0) for i, same in enumerate(shown)]
    others = sum(v.is_ok and not v.is_current for v in views)
    notes = [
        f"{len(current) - len(shown)} more texts" if len(current) > len(shown) else "",
        f"{others} other samples or earlier texts are not shown" if others else "",
        *(f"{n} failed: {status_words(status)}" for status, n in sorted(failed.items())),
    ]
    said = "; ".join(filter(None, notes))
    return join([*parts, p(said, class_="small") if said else None]) if parts or said else NOTHING


def to_read(run: ReportRun, at: NeuronAt, pole: Pole) -> ExplanationView | None:
    """The explanation of a pole that is shown first; None without one, or if a set is damaged."""
    read = attempt(lambda: run.explanations.of(at).pole(pole))
    found = same_texts(run, read.value.shown) if read.value is not None else []
    return found[0][0] if found else None


def same_texts(run: ReportRun, views: Sequence[ExplanationView]) -> list[list[ExplanationView]]:
    """The current explanations of one pole by text, in the order to read.

    Of those with the same text, the one whose score has the most draws of a null is first, then the one whose set has
    the most neurons. Both are counts, so that equal scores that were rounded differently do not change the order.
    """
    found: dict[str, list[ExplanationView]] = {}
    for v in views:
        if v.is_current and v.is_ok and not v.is_replaced:
            found.setdefault(v.entry.text.strip(), []).append(v)
    return [sorted(same, key=lambda v: _least_known(run, v)) if len(same) > 1 else same for same in found.values()]


def _least_known(run: ReportRun, v: ExplanationView) -> tuple[int, int]:
    """Small where the score of an explanation is well compared."""
    score = headline_of(run, NeuronPole(v.entry.layer, v.entry.neuron, v.entry.pole), v.entry.id)
    n_poles = next((s.n_poles for s in run.explanations.sets if s.name == v.entry.set), 0)
    return -(score.null_n if score is not None else 0), -n_poles


def _one(run: ReportRun, same: Sequence[ExplanationView], *, is_first: bool) -> Html:
    """One text, with the scores of the first of its explanations; those of the others are folded."""
    view = same[0]
    steps = [f"{s.how} by {s.who}: {one_line(s.text[:300])}" for s in chain_of(view)[:-1]]
    rest = [(label, value) for label, value in provenance(view) if label not in _HIDDEN]
    return el(
        "div",
        _text(view.entry.text, run.detail.characters),
        el("div", *map(_badge, dict.fromkeys(b for v in same for b in _states(v))),
           el("span", "; ".join(dict.fromkeys(map(_origin, same))), class_="small")),
        _scores(run, view),
        *(_more_scores(run, v) for v in same[1:]),
        fold("how it was made", facts(rest), lines(steps) if steps else None, printed=False),
        class_="exp first" if is_first else "exp",
    )  # fmt: skip


def _origin(view: ExplanationView) -> str:
    """Its set, who wrote it, and its sample."""
    at_once = " · ".join(f"{label} {value}" for label, value in provenance(view) if label in _AT_ONCE)
    who = brief(view.author)[:_LONGEST_NAME]
    parts = (f"set {view.entry.set}", "" if who == view.entry.set else who, at_once)
    return " · ".join(filter(None, parts))


def _scores(run: ReportRun, view: ExplanationView) -> Html:
    return scores_of(run, NeuronPole(view.entry.layer, view.entry.neuron, view.entry.pole), view.entry.id)


def _more_scores(run: ReportRun, view: ExplanationView) -> Html:
    """The scores of the same text in another set."""
    scores = _scores(run, view)
    return fold(f"its scores in the set {brief(view.entry.set)}, which has the same text", scores, printed=False) \
        if scores else NOTHING  # fmt: skip


def _text(text: str, most: int) -> Html:
    whole = paragraphs(text[: most + 1])
    cut = len(text) > most
    if cut:
        whole = paragraphs(text[:most])
        whole.append(f"… ({len(text):,} characters)")
    return el("div", lines(whole), class_="said")


def _states(view: ExplanationView) -> list[str]:
    """What is special about it; that it is the current one of its set holds for all that are shown."""
    found = badges(view) + ([] if view.is_finished else ["set not finished"])
    return [b for b in found if b != "current"]


def _badge(text: str) -> Html:
    kind = {"locked": "warn", "set": "warn", "edited": "good", "written": "good"}
    return el("span", text, class_=f"badge {kind.get(text.split(' ', 1)[0], '')}".strip())
