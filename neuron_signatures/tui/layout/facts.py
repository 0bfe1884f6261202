"""Facts: labels with text. Notes on a neuron as facts, and the layout of facts as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.tokens import brief
from neuron_signatures.tui.layout.text import Line, Span, line, number, safe, size, token_text, wrap
from neuron_signatures.tui.run.opened_run import Notes
from neuron_signatures.views.lists.ranked import signature_note
from neuron_signatures.views.neurons.facts import Signature
from neuron_signatures.views.neurons.writes import WriteScores


class Fact(NamedTuple):
    """A label and its text; without text, a heading."""

    label: str
    text: str = ""
    style: str = ""


def fact_lines(facts: Iterable[Fact], columns: int, *, label_width: int = 15) -> list[Line]:
    """Facts as lines, wrapped beside their labels and escaped."""
    lines: list[Line] = []
    for f in facts:
        if not f.text:
            lines.append(line(Span(safe(f.label)[:columns], f.style or "head")))
            continue
        width = min(label_width, columns // 3)
        for i, part in enumerate(wrap(safe(f.text), columns - width - 1)):
            label = safe(f.label)[:width] if i == 0 else ""
            lines.append(line(Span(f"{label:{width}} ", "dim"), Span(part, f.style)))
    return lines


def write_facts(notes: Notes, act: float | None, *, sources: bool) -> list[Fact]:
    """The tokens that the neuron promotes and suppresses with the sign of `act`; with `sources`, the results' names."""
    merged = _merged(notes.write_scores)
    return [f for w, stems in merged for f in _write_scores(signed(w, act), stems if sources else "", act)]


def more_facts(notes: Notes, stages: Sequence[str]) -> list[Fact]:
    """Explanations and signatures of both poles, doubts, and how to make what is missing."""
    explained = explained_facts(notes)
    facts = [f for s in notes.signatures for f in _signature(s)]
    if notes.at_large is not None:
        from neuron_signatures.tui.at_large.lines import at_large_facts  # not at the start

        facts += at_large_facts(notes.at_large)
    facts += doubt_facts(notes.doubts)
    facts += [Fact("missing", text, "dim") for text in notes.missing]
    facts = [*facts, *explained] if notes.explained is None else [*explained, *facts]
    return [*facts, *_score_facts(notes, stages)]


def _score_facts(notes: Notes, stages: Sequence[str]) -> list[Fact]:
    """The headline scores of the current explanations of both poles."""
    if notes.scored is None:
        none = "not read, because the run has no explanations" if "scores" in stages else "no scores in this run yet"
        return [Fact("scores", none, "dim")]
    from neuron_signatures.tui.scores.lines import current_facts  # not at the start

    return current_facts(notes.scored) or [Fact("scores", "no current explanation is scored", "dim")]


def explained_facts(notes: Notes) -> list[Fact]:
    """The explanations to read of both poles; without any, what makes them."""
    if notes.explained is None:
        return [Fact("explanations", notes.unexplained, "dim")]
    from neuron_signatures.tui.explanations.lines import pane_facts  # not at the start

    facts = [Fact(*f) for f in pane_facts(notes.explained)] or [Fact("explanations", "none of this neuron", "dim")]
    return facts + ([Fact("explanations", notes.unexplained, "warn")] if notes.unexplained else [])


def explained_line(notes: Notes | None, pole: Pole, columns: int) -> Line:
    """The explanation to read of a neuron's pole, in a run that has explanations."""
    from neuron_signatures.tui.explanations.lines import explanation_line  # not at the start

    if notes is None:
        return line(Span("explained reading ...", "dim"))
    if notes.explained is None:
        return line(Span(safe(notes.unexplained), "warn"))
    return explanation_line(notes.explained, pole, columns)


def signed(w: WriteScores, act: float | None) -> WriteScores:
    """Scores per unit of |activation|, as the sign of `act` turns them: a negative activation swaps the sides."""
    if act is None or act >= 0:
        return w
    up, down = ([x._replace(score=-x.score) for x in side] for side in (w.suppresses, w.promotes))
    return w._replace(promotes=up, suppresses=down)


def written_here(notes: Notes, prompt_id: str, pos: int) -> WriteScores | None:
    """Of several write scores, those at this position, else those from the weights; None if there are none."""
    own = next((w for w in notes.write_scores if (w.prompt_id, w.pos) == (prompt_id, pos)), None)
    weights = next((w for w in notes.write_scores if w.prompt_id is None), None)
    return own or weights or next(iter(notes.write_scores), None)


def doubt_facts(doubts: Mapping[str, str]) -> list[Fact]:
    """Doubts about results, one fact per reason."""
    stems: dict[str, list[str]] = {}
    for stem, why in doubts.items():
        stems.setdefault(why, []).append(stem)
    return [Fact("doubtful", f"{why}: {', '.join(of)}", "warn") for why, of in stems.items()]


def notes_record(notes: Notes, stages: Sequence[str]) -> dict[str, Any]:
    return {
        "signatures": [s._asdict() for s in notes.signatures],
        "write_scores": [
            {**w._asdict(), **{k: [x._asdict() for x in getattr(w, k)] for k in ("promotes", "suppresses")}}
            for w in notes.write_scores
        ],
        "missing": list(notes.missing), "doubts": dict(notes.doubts), "explanations": explained_record(notes),
        "stages": list(stages), "at_large": _at_large_record(notes),
    }  # fmt: skip


def _at_large_record(notes: Notes) -> dict[str, Any] | None:
    """None if no stage looked at neurons at large."""
    if notes.at_large is None:
        return None
    from neuron_signatures.tui.at_large.lines import at_large_record  # not at the start

    return at_large_record(notes.at_large)


def explained_record(notes: Notes) -> list[dict[str, Any]]:
    """The explanations of the neuron as data."""
    if notes.explained is None:
        return []
    from neuron_signatures.tui.explanations.lines import explanations_record  # not at the start

    return explanations_record(notes.explained)


def _signature(s: Signature) -> list[Fact]:
    facts = [Fact(f"pole {s.pole}", signature_note(brief(s.cls), s.name and brief(s.name), s.n_texts))]
    token = "" if s.mode_peak_token is None else f", most on {token_text(s.mode_peak_token)}"
    facts.append(Fact("", f"active on {count(s.n_active, 'prompt')}, peak {size(s.max_peak)}{token}"))
    if s.consistency is not None:
        between = "" if s.low is None or s.high is None else f" [{s.low:.2f}, {s.high:.2f}]"
        facts.append(Fact("", f"consistency {s.consistency:.2f}{between}, n {s.n_texts}"))
    return facts


def _merged(scores: Sequence[WriteScores]) -> list[tuple[WriteScores, str]]:
    """Write scores without duplicates, each with the names of all results that contain it."""
    found: dict[str, list[WriteScores]] = {}
    for w in scores:
        found.setdefault(repr(w._replace(source="", activation=0.0)), []).append(w)
    return [(same[-1], ", ".join(w.source for w in same)) for same in found.values()]


def _write_scores(w: WriteScores, sources: str, act: float | None) -> list[Fact]:
    up, down = (
        "  ".join(f"{token_text(x.token)} {number(x.score, 3)}" for x in side[:6])
        for side in (w.promotes, w.suppresses)
    )
    where = "from the weights" if w.prompt_id is None else f"{brief(w.prompt_id)} at {w.pos}"
    sign = "a negative" if act is not None and act < 0 else "a positive"
    facts = [Fact("promotes", up or "nothing"), Fact("suppresses", down or "nothing")]
    if sources:
        return [*facts, Fact("", f"with {sign} activation; scores: {w.unit}; {where}; from {sources}", "dim")]
    return [*facts, Fact("", f"with {sign} activation, {where}", "dim")]


def count(n: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"1 {what}" if n == 1 else f"{n} {what}s"


def heading(text: str) -> list[Line]:
    return [line(Span(safe(text), "title"))]
