"""How an explanation was made, and what people added to it, as label and text. Texts are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.explanations.shown import NO_NAME, ExplanationView, author_of
from neuron_signatures.views.explanations.texts import one_line, status_words, votes_text
from neuron_signatures.views.interventions.sheets import counted, share_text

_SHOWN_WINDOWS = 12
"""Windows of the evidence that are named."""
_SHOWN_NGRAMS = 12
_SHOWN_SCORES = 12
_SHOWN_NOTES = 20


class Step(NamedTuple):
    """One text of a chain of revisions and edits."""

    who: str
    """The model or the person who wrote it, escaped."""
    how: str
    """`first`, `revision 1`, `edit`, or `written` by a person from the beginning."""
    created_at_utc: str
    text: str
    """Raw."""
    id: str
    is_human: bool


def chain_of(s: ExplanationView) -> list[Step]:
    """From the first text to this one; empty if it revises nothing."""
    return [_step(e) for e in (*s.chain, s.entry)] if s.chain else []


def badges(s: ExplanationView) -> list[str]:
    """State in a few words each, the most important first, escaped."""
    e = s.entry
    found = ["current"] if s.is_current else []
    if s.locked_by is not None:
        found.append(f"locked by {_who(s.locked_by)}")
    if s.is_human:
        found.append(f"{'edited' if e.parent else 'written'} by {brief(s.author)}")
    if s.is_chosen:
        found.append("chosen")
    if e.status != "ok":
        found.append(status_words(e.status) + (", asked again later" if s.is_replaced else ""))
    return found + ([f"votes {votes_text(s)}"] if s.votes else [])


def provenance(s: ExplanationView) -> list[tuple[str, str]]:
    """Everything that is stored about it, as label and text; what is not stored is left out."""
    e, notes = s.entry, s.notes[-_SHOWN_NOTES:]
    facts = [
        ("status", "" if e.status == "ok" else _joined([status_words(e.status), one_line(e.reason)], ": ")),
        ("written by", _writer(s)),
        ("set", e.set + ("" if s.is_finished else " (not finished)")),
        ("explainer", brief(e.explainer)),
        ("sample", _sample(s)),
        ("score", _score(s)),
        ("rule", _rule(e)),
        ("evidence", _evidence(e.evidence)),
        ("prompt", _prompt(e)),
        ("cost", _cost(e)),
        ("made", brief(e.created_at_utc)),
        ("votes", ", ".join(f"{v.value:+d} by {_who(v.author_name)}" for v in s.votes)),
        ("locked", "" if s.locked_by is None else f"by {_who(s.locked_by)}: it is not replaced"),
        *(("note", f"{one_line(n.text)} ({_who(n.author_name)}, {brief(n.created_at_utc[:10])})") for n in notes),
        ("", f"and {len(s.notes) - len(notes)} older notes" if len(notes) < len(s.notes) else ""),
        ("id", e.id),
    ]  # fmt: skip
    return [(label, text) for label, text in facts if text]


def _step(e: Entry) -> Step:
    how = (
        ("edit" if e.parent else "written")
        if e.author == "human"
        else f"revision {e.revision}"
        if e.revision
        else "first"
    )
    return Step(brief(author_of(e)), how, brief(e.created_at_utc), e.text, e.id, e.author == "human")


def _writer(s: ExplanationView) -> str:
    """Who wrote it: the person, or the model as it was asked for and as it answered."""
    e = s.entry
    if s.is_human:
        return f"{brief(s.author)}, a person{', as an edit' if e.parent else ''}"
    if e.client == "none" or (e.model is None and e.answered_by is None):
        return "a rule, without a language model" if e.client == "none" else ""
    asked, answered = brief(e.model or "not recorded"), brief(e.answered_by or "")
    name = asked if answered in ("", asked) else f"{answered} (asked for {asked})"
    details = [
        e.client or "", "" if e.temperature is None else f"temperature {e.temperature:g}",
        "" if e.seed is None else f"seed {e.seed}",
        "" if not e.system_fingerprint else f"fingerprint {brief(e.system_fingerprint)}",
    ]  # fmt: skip
    return _joined([name, *details])


def _sample(s: ExplanationView) -> str:
    e = s.entry
    if s.is_human:
        return ""
    number = f"{e.sample + 1} of {s.n_samples}" if s.n_samples > 1 else ""
    share = "" if e.mode_share is None else f", {share_text(e.mode_share)} of the strongest windows"
    mode = "" if e.mode is None else f"mode {e.mode}{share}"
    return _joined([number, f"revision {e.revision}" if e.revision else "", mode])


def _score(s: ExplanationView) -> str:
    """Its score, and of the chosen one also the others'."""
    if s.score is None and not s.is_chosen and not s.select_by:
        return ""
    by = f" by {brief(s.select_by)}" if s.select_by else ""
    text = f"{_number(s.score)}{by}, on select"
    if not s.is_chosen:
        return text
    shown = " ".join(_number(x) for x in s.compared[:_SHOWN_SCORES])
    more = " ..." if len(s.compared) > _SHOWN_SCORES else ""
    return f"{text}; chosen among {len(s.compared)}: {shown}{more}" if len(s.compared) > 1 else f"{text}; chosen"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _rule(e: Entry) -> str:
    if e.rule is None:
        return ""
    r = e.rule
    ngrams = [" + ".join(visible(t) for t in ngram) for ngram in r.ngrams[:_SHOWN_NGRAMS]]
    more = f" and {len(r.ngrams) - _SHOWN_NGRAMS} more" if len(r.ngrams) > _SHOWN_NGRAMS else ""
    precision, recall = ("undefined" if x is None else f"{x:.2f}" for x in (r.precision, r.recall))
    counts = f"precision {precision}, recall {recall} on explain ({counted(r.n_active, 'active position')})"
    return f"{'  '.join(ngrams)}{more}; {counts}"


def _evidence(windows: Sequence[int]) -> str:
    if not windows:
        return ""
    shown = " ".join(str(w) for w in windows[:_SHOWN_WINDOWS])
    more = f" and {len(windows) - _SHOWN_WINDOWS:,} more" if len(windows) > _SHOWN_WINDOWS else ""
    return f"{counted(len(windows), 'window')} of the corpus: {shown}{more}"


def _prompt(e: Entry) -> str:
    version = f"version {brief(e.prompt_version)}" if e.prompt_version else ""
    return _joined([version, f"sha256 {e.prompt_sha256[:12]}" if e.prompt_sha256 else ""])


def _cost(e: Entry) -> str:
    tokens = [
        "" if n is None else f"{n:,} {what} tokens"
        for n, what in ((e.prompt_tokens, "prompt"), (e.completion_tokens, "answer"))
    ]
    cost = "" if e.cost is None or e.client == "none" else f"{e.cost:.2g} USD"
    return _joined([*tokens, cost, "" if e.seconds is None else f"{e.seconds:.2g} s"])


def _who(name: str | None) -> str:
    return brief(name or NO_NAME)


def _joined(parts: Sequence[str], by: str = ", ") -> str:
    return by.join(p for p in parts if p)
