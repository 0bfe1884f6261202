"""True and simulated activations as lines and as data, for the screen, `--print` and exports."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.tokens import brief
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line, safe, wrap
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.scores.lines import scorer_sentence, scores_record
from neuron_signatures.tui.scores.reading import NeuronScores, Simulated, simulated
from neuron_signatures.tui.scores.windows import simulated_table, window_record
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations
from neuron_signatures.views.explanations.texts import text_or_why
from neuron_signatures.views.scores.commands import nothing_text, score_command

_MOST = 10
"""Windows in text, without `--limit`."""


def read_simulated(opened: OpenedRun, at: NeuronAt, id_: str = "", name: str = "") -> Simulated:
    """One explanation of a neuron: that with this id, else the first one of which predictions are stored.

    `name`: the scored set, else the first one. Reads files, for a thread. Raises `BadRunError` if the explanations
    cannot be read.
    """
    found, scores = opened.explained.of(at), opened.scored.of(at)
    views = _views(found, scores, id_, name)
    shown = [Simulated(at, label=at.label, problems=scores.problems, why=f"no explanation of {at.label}")]
    for view in views:
        which = (view.entry.id, view.label, text_or_why(view))
        shown.append(simulated(opened.scored, scores, which, name, _nothing(opened.run.path, scores, view)))
        if shown[-1].windows:
            return shown[-1]
    return shown[1] if views else shown[0]


def simulated_head(s: Simulated, columns: int) -> list[Line]:
    """The explanation, its score by the scorer that is shown, and the logs that cannot be read."""
    title = line(Span(f"{s.label} simulated", "title"), Span(f"  {s.text}" if s.text else "", "mark"))
    lines = [title]
    if s.shown is not None:
        n = len(s.options)
        which = f" [{s.chosen + 1} of {n} scorers]" if n > 1 else ""
        text = f"{scorer_sentence(s.shown.first)}{which}"
        lines += [line(Span(x, "" if i else "mark")) for i, x in enumerate(wrap(safe(text), columns))]
    return [*lines, *fact_lines([Fact("unread", p, "warn") for p in s.problems], columns)]


def simulated_printed(
    opened: OpenedRun, s: Simulated, columns: int, *, most: int | None = None, whole: bool = False
) -> Printed:
    """`most` windows in text (0: all), with `whole` all of their tokens; as data always everything."""
    lines = simulated_head(s, columns)
    if s.windows:
        n = _MOST if most is None else most or len(s.windows)
        shown = s.windows[:n]
        table = simulated_table(shown, range(len(shown)) if whole else (), columns)
        lines += [(), table.head[:0] + _without_margin(table.head), *(table.line_of(i) for i in range(len(table)))]
        if len(shown) < len(s.windows):
            lines += [(), line(f"... {len(s.windows) - len(shown)} more windows; --limit 0 prints all")]
    else:
        lines += [(), *fact_lines([Fact("", s.why)], columns, label_width=1)]
    record = {
        "run": str(opened.run.path), "model": opened.run.manifest.model_name, **s.at._asdict(),
        "explanation_id": s.explanation_id, "name": s.shown.name if s.shown else None,
        "names": [o.name for o in s.options], "scores": scores_record([s.shown] if s.shown else []),
        "windows": [window_record(w) for w in s.windows], "why": s.why, "unread": list(s.problems),
    }  # fmt: skip
    return Printed(lines, None, record)


def token_copied(s: Simulated, text: str) -> str:
    """A row with the explanation that it is about."""
    scorer = "" if s.shown is None else f" by {brief(s.shown.first.scorer)}"
    return safe(f"{s.label} simulated{scorer}  {text}".rstrip())


def _views(found: NeuronExplanations, scores: NeuronScores, id_: str, name: str) -> list[ExplanationView]:
    """The explanation with this id; without one, those from which was predicted, or else the first of the neuron."""
    if id_:
        return [v for v in found.shown if v.entry.id == id_]
    predicted = [v for v in found.shown if any(name in ("", s.name) for s in scores.simulated(v.entry.id))]
    return predicted or list(found.shown[:1])


def _nothing(run_dir: Path, scores: NeuronScores, view: ExplanationView) -> str:
    """Why nothing was predicted from an explanation."""
    if not view.is_ok:
        return "this explanation failed, so there is nothing to score"
    if scores.of(view.entry.id):
        scored = ", ".join(brief(s.first.scorer) for s in scores.of(view.entry.id))
        return f"scored by {scored}, which predicts no activations"
    if scores.problems:
        return "no readable log of scores has this explanation"
    if scores.found:
        return "this explanation has not been scored; others of this neuron have"
    none = nothing_text(run_dir)
    return none if not (run_dir / "scores").is_dir() else f"not scored; {score_command(run_dir)}"


def _without_margin(head: Line) -> Line:
    return line(Span(head[0].text[2:], head[0].style))
