"""Units that are specific for a class, with what is said about them, and probes."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_skills import most_specific, skill_record, skill_table
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.skills.figures import probe_lines
from neuron_signatures.dashboard.skills.frames import (
    AGREEMENT_HELP,
    SPECIFIC_HELP,
    THREE,
    agreement_frame,
    specific_frame,
)
from neuron_signatures.dashboard.skills.overview_panel import say_missing
from neuron_signatures.dashboard.widgets.elements import chart, small, table
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import NEURONS
from neuron_signatures.runs.skills.names import AGREEMENT, CLASSIFICATIONS, PROBES, UNIT_EXPLANATIONS, Mode
from neuron_signatures.runs.skills.units import parse_unit
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.skills.groups import best_first, groups_of, rows_of

_CLASS, _SOURCE, _PROBE = "ui_skills_class", "ui_skills_source", "ui_skills_probe"
_ANSWERS = ("yes", "no", "uncertain")
_AGREEMENT_NUMBERS = ("agreement", "kappa", "low", "high", "AUROC", "auroc_low", "auroc_high")
_PROBE_HELP = (
    "Sparse probes of the class: how many units are needed. Dotted: the same with random labels. The difference "
    "is the selectivity."
)
_SAID_HELP = "Whether explanations of specific units belong to the class, by language models, people and baselines."


def specific_panel(ctx: PageContext, done: tuple[Mode, ...]) -> None:
    st.markdown(
        "#### Specific units", help="Which units tell texts of a class from all others. Read the held-out AUROC."
    )
    frame = most_specific(ctx)
    if not len(frame):
        st.caption("There is nothing to tell apart.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_skills_units"):
        of_class = st.selectbox("Class", sorted(frame["class"].unique()), key=_CLASS, format_func=escape)
        source = st.selectbox("Source", best_first(list(frame["source"])), key=_SOURCE, format_func=escape)
    rows = frame[(frame["class"] == of_class) & (frame["source"] == source)].reset_index(drop=True)
    said = _explanations(ctx) if "explain" in done else {}
    shown = specific_frame(rows, said)
    numbers = [c for c in shown if shown[c].dtype.kind == "f"]
    labels = shown["unit"].tolist()
    opens = (lambda i: _open(ctx, labels[i])) if source == NEURONS else None
    table(shown, "skills_specific", help=SPECIFIC_HELP, height=380, on_row=opens,
          formats={**dict.fromkeys(numbers, THREE), "q": "%.2g"})  # fmt: skip
    length = _length_auroc(ctx, of_class)
    control = "" if length is None else f" The length of a text alone has an AUROC of {length:.3f} for this class."
    small(f"The first {len(rows):,} by AUROC on the texts on which they were found.{control}")
    with st.popover("Export"):
        downloads(shown, "skills_specific", "skills_specific_export")


def probes_panel(ctx: PageContext) -> None:
    st.markdown("#### Probes", help=_PROBE_HELP)
    frame = skill_table(ctx, PROBES)
    if not len(frame):
        st.caption("No probe was fitted.")
        return
    groups = groups_of(frame)
    levels = sorted(frame["level"].dropna().unique(), reverse=True)
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_skills_probes"):
        group = st.selectbox("Units", groups, key=_PROBE, format_func=lambda g: escape(g.label))
        level = st.selectbox("Labels of", levels, key="ui_skills_probe_level", format_func=escape)
    rows = rows_of(frame, group)
    rows = rows[rows["level"] == level]
    if len(rows):
        chart(ctx, probe_lines(rows), "skills_probes")
    else:
        st.caption("Not fitted for these units.")


def classification_panel(ctx: PageContext, done: tuple[Mode, ...]) -> None:
    st.markdown("#### Does the explanation say so?", help=_SAID_HELP)
    if "classify" not in done:
        say_missing(ctx, "explain" if "explain" not in done else "classify")
        return
    frame = skill_table(ctx, CLASSIFICATIONS)
    counts = frame.assign(answer=frame["answer"].fillna("").replace("", "no answer")).groupby(
        ["rater", "sample", "class", "answer"], dropna=False
    ).size().unstack(fill_value=0)  # fmt: skip
    answered = counts[[c for c in (*_ANSWERS, "no answer") if c in counts]].reset_index()
    table(answered[answered["rater"] != "embedding"], "skills_answers")
    table(agreement_frame(skill_table(ctx, AGREEMENT)), "skills_agreement", help=AGREEMENT_HELP,
          formats=dict.fromkeys(_AGREEMENT_NUMBERS, THREE))  # fmt: skip


def _explanations(ctx: PageContext) -> dict[tuple[str, str, int, int], str]:
    frame = skill_table(ctx, UNIT_EXPLANATIONS)
    some = frame[frame["status"] == "ok"]
    keys = zip(some["source"], some["site"], some["layer"].astype(int), some["unit"].astype(int), strict=True)
    found: dict[tuple[str, str, int, int], str] = {}
    for key, said in zip(keys, some["explanation"].fillna(""), strict=True):
        found.setdefault(key, str(said))
    return found


def _length_auroc(ctx: PageContext, of_class: str) -> float | None:
    """Of the number of tokens of held-out texts; None if it was not recorded."""
    record = skill_record(ctx, "compare")
    by_class = getattr(record, "facts", {}).get("length_auroc", {})
    by_half = by_class.get(of_class) if isinstance(by_class, dict) else None
    value = by_half.get("held_out") if isinstance(by_half, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _open(ctx: PageContext, label: str) -> None:
    try:
        name = parse_unit(label)
    except UsageError:  # a damaged table
        return
    if name.source == NEURONS and ctx.run.stores(name.layer, name.number):
        ctx.choose(layer=name.layer, neuron=name.number, view=View.NEURON)
