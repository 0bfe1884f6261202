"""Tables of a neuron's results, and hints for those that do not exist yet."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.widgets.elements import empty, facts, show_error, small, table
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.results import TOP_STEM, WRITES
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.neurons.writes import WriteScores, writes_doubt
from neuron_signatures.views.search_run.asked import LONGEST, Asked, Way

_WRITE_HELP = (
    "The neuron's output direction read through the unembedding: the change in each token's logit per unit of "
    "activation, with the norms' scales at that position of the prompt; without a prompt, up to that positive factor. "
    "A negative activation swaps the two columns."
)


def signature_hint(ctx: PageContext) -> None:
    """Why there are no signatures, if there are none; the summary shows those that exist."""
    try:
        if not cached_reads.signatures_at(ctx.run_dir, ctx.results_key, ctx.at):
            st.caption("The signatures do not include this neuron.")
    except UsageError:
        empty("Signatures have not been computed yet.", stage_2(ctx.run_dir, "--mode", "signatures"))
    except BadRunError as e:
        show_error(e)


def write_panel(ctx: PageContext) -> None:
    st.markdown("#### Write scores", help=_WRITE_HELP)
    try:
        found = cached_reads.write_scores_at(ctx.run_dir, ctx.results_key, ctx.at)
    except (BadRunError, UsageError) as e:
        show_error(e)
        return
    if not found:
        empty(
            "No write scores for this neuron. This computes them for every neuron:",
            stage_2(ctx.run_dir, "--mode", "write_scores"),
        )
        return
    chosen = found[0]
    if len(found) > 1:
        names = _titles(ctx, found)
        stem = st.selectbox(
            "From", list(names), format_func=names.__getitem__, key="ui_write_from", label_visibility="collapsed"
        )
        chosen = next(w for w in found if w.source == stem)
    _table(ctx, chosen)
    facts([("at", _measured_at(chosen)), ("unit", chosen.unit)])
    if chosen.source == WRITES and (doubt := writes_doubt(ctx.run)):
        facts([("doubtful", doubt)])


def _table(ctx: PageContext, w: WriteScores) -> None:
    """A click on a token shows who else writes it on this side."""
    sides: dict[str, tuple[Way, list[str]]] = {
        "promotes": ("promotes", [t.token for t in w.promotes]),
        "suppresses": ("suppresses", [t.token for t in w.suppresses]),
    }  # fmt: skip

    def search(row: int, column: str) -> None:
        way, tokens = sides.get(column, ("promotes", []))
        if row < len(tokens) and len(shown := f'"{visible(tokens[row])}"') <= LONGEST:
            ctx.search(Asked(shown, way))

    table(write_frame(w), "neuron_writes", on_cell=search)
    small("Click a token to see who else writes it.")


def _measured_at(w: WriteScores) -> str:
    if w.prompt_id is None:
        return "no prompt: from the weights alone"
    return f"position {w.pos} of {brief(w.prompt_id)}, activation {w.activation:+.4g}"


def _titles(ctx: PageContext, found: list[WriteScores]) -> dict[str, str]:
    """Titles of the lists by stem, with the stem if ambiguous; the stem alone for an unknown list."""
    by_stem = {TOP_STEM if r.kind == "peaks" else r.stem: r.title for r in ctx.lists}
    titles = {w.source: by_stem.get(w.source, w.source) for w in found}
    every = Counter(titles.values())
    return {stem: escape(t if every[t] == 1 else f"{t} ({stem})") for stem, t in titles.items()}


def write_frame(w: WriteScores) -> pd.DataFrame:
    """Promoted and suppressed tokens side by side; the shorter columns are padded with blanks."""
    n = max(len(w.promotes), len(w.suppresses))
    columns: dict[str, Any] = {}
    for name, gap, written in (("promotes", "", w.promotes), ("suppresses", " ", w.suppresses)):
        missing = n - len(written)
        columns[name] = [visible(t.token) for t in written] + [""] * missing
        columns[f"id{gap}"] = pd.array([t.token_id for t in written] + [None] * missing, dtype="Int64")
        columns[f"score{gap}"] = [t.score for t in written] + [None] * missing
    return pd.DataFrame(columns)
