"""How alike classes and skills are, against permuted labels; by layer; and in how many texts units fire."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_skills import skill_table
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.skills.figures import frequency_lines, separation_lines, similarity_map, too_many
from neuron_signatures.dashboard.widgets.elements import chart, small
from neuron_signatures.runs.skills.names import FREQUENCIES, SEPARATION, SIMILARITIES
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.skills.groups import (
    BACKGROUND_WORDS,
    Group,
    Kind,
    classes_with_skills,
    groups_of,
    kinds_of,
    rows_of,
    square,
)

_GROUP, _KIND, _BACKGROUND, _WITHIN = "ui_skills_group", "ui_skills_kind", "ui_skills_background", "ui_skills_within"
_SIMILARITY_HELP = (
    "How alike the units are that classes use. The diagonal (½) is the similarity of random halves of the same texts: "
    "about the largest that can be reached. Hover for the interval and for permuted labels."
)
_LAYER_HELP = (
    "The mean similarity of random halves of a class less that of different classes. Dotted: the same with permuted "
    "class labels."
)


def similarity_panel(ctx: PageContext) -> None:
    frame = skill_table(ctx, SIMILARITIES)
    if not len(frame):
        st.caption("Nothing could be compared: there is one class, without skills.")
        return
    group, kind = _choose(groups_of(frame), kinds_of(frame))
    rows = rows_of(frame, group, kind)
    left, right = st.columns(2)
    with left:
        st.markdown("#### Between classes", help=_SIMILARITY_HELP)
        _map(ctx, rows, "between", "")
    with right:
        st.markdown("#### Between the skills of a class")
        classes = classes_with_skills(frame)
        if not classes:
            st.caption("No class has two skills with enough texts.")
        else:
            within = st.selectbox("Class", classes, key=_WITHIN, format_func=escape, label_visibility="collapsed")
            _map(ctx, rows, "within", within)
    separation = skill_table(ctx, SEPARATION)
    whole = rows_of(separation, group, kind)
    if len(whole):
        r = whole.iloc[0]
        small(f"{group.label}: halves of a class {r['within']:.3f}, different classes {r['between']:.3f}; difference "
              f"{r['difference']:.3f} [{r['low']:.3f}, {r['high']:.3f}], with permuted labels {r['null_mean']:.3f} ± "
              f"{r['null_sd']:.3f}, p {r['p']:.2g} ({r['n_null']:,.0f} draws)")  # fmt: skip
    left, right = st.columns(2)
    with left:
        st.markdown("#### By layer", help=_LAYER_HELP)
        _by_layer(ctx, kind)
    with right:
        st.markdown("#### How often units fire")
        _frequencies(ctx, group)
    with st.popover("Export"):
        downloads(rows, "skills_similarities", "skills_similarities_export")


def _choose(groups: list[Group], kinds: list[Kind]) -> tuple[Group, Kind]:
    backgrounds = list(dict.fromkeys(k.background for k in kinds))
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_skills"):
        group = st.selectbox("Units", groups, key=_GROUP, format_func=lambda g: escape(g.label))
        background = st.selectbox("Background", backgrounds, key=_BACKGROUND,
                                  format_func=lambda b: BACKGROUND_WORDS.get(b, escape(b)))  # fmt: skip
        some = [k for k in kinds if k.background == background]
        kind = st.selectbox("Similarity", some, key=_KIND, format_func=lambda k: escape(k.label))
    return group, kind


def _map(ctx: PageContext, rows: object, level: str, within: str) -> None:
    import pandas as pd

    assert isinstance(rows, pd.DataFrame)
    some = rows[rows["level"] == level]
    if level == "within":
        some = some[(some["class_a"] == within) & (some["class_b"] == within)]
    found = square(rows, level, within)
    if not found.names:
        st.caption("Not compared.")
    elif too_many(found.names):
        st.caption(f"{len(found.names)} names are too many for a map; export the table instead.")
    else:
        chart(ctx, similarity_map(found, some), f"skills_map_{level}")


def _by_layer(ctx: PageContext, kind: Kind) -> None:
    frame = skill_table(ctx, SEPARATION)
    groups = {(g.source, g.site) for g in groups_of(frame) if g.layer is not None}
    lines = []
    for source, site in sorted(groups):
        some = frame[(frame["source"] == source) & (frame["site"].fillna("") == site) & frame["layer"].notna()]
        for name, value in kind._asdict().items():
            some = some[some[name] == value]
        lines.append((f"{source} {site}".removesuffix(" neuron"), some))
    if any(len(rows) for _, rows in lines):
        chart(ctx, separation_lines([line for line in lines if len(line[1])]), "skills_layers")
    else:
        st.caption("Not computed by layer for this similarity.")


def _frequencies(ctx: PageContext, group: Group) -> None:
    frame = skill_table(ctx, FREQUENCIES)
    some = frame[frame["source"] == group.source]
    if group.site:
        some = some[some["site"].fillna("") == group.site]
    if group.layer is not None:
        some = some[some["layer"] == group.layer]
    if len(some):
        chart(ctx, frequency_lines(some), "skills_frequencies")
    else:
        st.caption("No histogram for these units.")
