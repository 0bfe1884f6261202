"""The results of a run about one neuron: signatures and write scores."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.widgets.elements import empty, facts, show_error, table
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.results import TOP_STEM, WRITES
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.facts import Signature
from neuron_signatures.views.writes import WriteScores, writes_doubt

_WRITE_HELP = (
    "The neuron's output direction read through the unembedding: the change in each token's logit per unit of "
    "activation, with the norms' scales at that position of the prompt; without a prompt, up to that positive factor. "
    "A negative activation swaps the two columns."
)
_SIGNATURE_HELP = (
    "Computed from the tokens that the neuron peaks on, separately for each sign; docs/method.md defines the classes. "
    "Compare the size of a class with its size for shuffled tokens (Signatures view)."
)


def signature_panel(ctx: PageContext) -> None:
    st.markdown("#### Signature", help=_SIGNATURE_HELP)
    try:
        found = cached_reads.signatures_at(ctx.run_dir, ctx.results_key, ctx.at)
    except UsageError:
        empty("Signatures have not been computed yet.", stage_2(ctx.run_dir, "--mode", "signatures"))
        return
    except BadRunError as e:
        show_error(e)
        return
    if not found:
        st.caption("The signatures do not include this neuron.")
    for s in found:
        facts([(f"pole {s.pole}", signature_line(s))])


def signature_line(s: Signature) -> str:
    """One pole as a sentence, without undefined numbers."""
    n = "" if s.cls == "unclassified" else f" (n {s.n_texts})"
    parts = [brief(s.cls) + (f", {visible(s.name)}" if s.name else "") + n]
    if s.n_active == 0:
        return "never active"
    parts.append(f"active in {s.n_active} prompts" + ("" if s.max_peak is None else f", largest peak {s.max_peak:.4g}"))
    if s.mode_peak_token is not None and s.consistency is not None:
        share = f"{s.consistency:.0%}" + ("" if s.low is None or s.high is None else f" ({s.low:.0%} to {s.high:.0%})")
        parts.append(f"peaks most often on {visible(s.mode_peak_token)}, {share}")
    if s.func_vs_sem is not None:
        parts.append(f"on functional tokens {s.func_vs_sem:.0%}")
    return "; ".join(parts)


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
    table(write_frame(chosen), "neuron_writes")
    facts([("at", _measured_at(chosen)), ("unit", chosen.unit)])
    if chosen.source == WRITES and (doubt := writes_doubt(ctx.run)):
        facts([("doubtful", doubt)])


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
    """Promoted and suppressed tokens side by side; the shorter column is padded with blanks."""
    n = max(len(w.promotes), len(w.suppresses))
    columns: dict[str, Any] = {}
    for name, score, written in (("promotes", "score", w.promotes), ("suppresses", "score ", w.suppresses)):
        missing = n - len(written)
        columns[name] = [visible(t.token) for t in written] + [""] * missing
        columns[score] = [t.score for t in written] + [None] * missing
    return pd.DataFrame(columns)
