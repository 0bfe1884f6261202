"""Builds the page: every section, a summary of them, and the size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import problem
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.sections import SECTIONS
from neuron_signatures.reporting.sections.question import heading
from neuron_signatures.reporting.settings import DETAILS, MAX_BYTES, Detail, Settings
from neuron_signatures.reporting.style import style
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import brief

GENERATOR = "neuron-signatures report"
"""Marks a file as a report of ours, which may be replaced."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class Report(NamedTuple):
    html: str
    problems: int
    """Sections and parts that cannot be shown."""
    left_out: str
    """What is not in it because of its size; empty if nothing is."""


def build(run: Run, settings: Settings, *, written_at: datetime | None = None) -> Report:
    """The report of a run, in at most `MAX_BYTES`. The same run gives the same bytes, except for the time in its
    footer.

    Raises `UsageError` for a prompt or an influence result that the run does not have.
    """
    at = (written_at or datetime.now(UTC)).isoformat(timespec="seconds")
    for detail in DETAILS:
        found = _page(run, settings, detail, at)
        if len(found.html.encode("utf-8", "backslashreplace")) <= MAX_BYTES:
            break
    return found


def _page(run: Run, settings: Settings, detail: Detail, at: str) -> Report:
    with ReportRun(run, settings, detail) as opened:
        _ = opened.choice  # a wrong flag ends the command, before any section
        sections = [s for make in SECTIONS if (s := _made(make, opened)) is not None]
        title = heading(opened)
    body = join([_top(run, title, sections), *map(_shown, enumerate(sections, 1)), _footer(run, at)])
    page = join([
        Html("<!DOCTYPE html>\n"),
        el("html", _head(title), el("body", el("main", body)), lang="en"),
        Html("\n"),
    ])  # fmt: skip
    return Report(page, page.count('class="note bad"'), detail.left_out())


def _made(make: Callable[[ReportRun], Section | None], run: ReportRun) -> Section | None:
    """The section, or one that says why it cannot be shown."""
    read = attempt(lambda: make(run))
    if not read.problem:
        return read.value
    name = make.__name__
    return Section(name, name.capitalize(), text(""), [problem(read.problem)])


def _head(title: str) -> Html:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="generator", content=GENERATOR),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Html(style())),
    )


def _top(run: Run, title: str, sections: list[Section]) -> Html:
    short = [line for s in sections for line in s.in_short]
    summary = el("div", el("b", "In short"), el("ul", *(el("li", s) for s in short)), class_="short") if short else None
    links = [el("li", el("a", f"{i}. {s.title}", href=f"#{s.id}")) for i, s in enumerate(sections, 1)]
    about = f"Report on the run {brief(run.path.resolve().name)} · model {brief(run.manifest.model_name)} · run made " \
            f"{brief(run.manifest.created_at_utc[:10])}"  # fmt: skip
    return el("header", el("p", about, class_="small"), el("h1", title), summary, el("nav", el("ol", *links)))


def _shown(numbered: tuple[int, Section]) -> Html:
    i, s = numbered
    title = el("h2", el("span", str(i), class_="num"), s.title)
    return el("section", title, el("p", s.lead, class_="lead") if s.lead else None, *s.body, id=s.id)


def _footer(run: Run, at: str) -> Html:
    version = run.manifest.versions.get("neuron-signatures", "")
    said = f"Written {at} by neuron-signatures report from the files of the run; nothing was computed with a model. "
    more = "The file needs no network and runs no scripts."
    return el("footer", said, f"The run was made with version {brief(version)}. " if version else None, more)
