"""The second question of the Query view: which neurons does a token or an n-gram excite?"""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads_with_record
from neuron_signatures.dashboard.data.neuron_stats import Progress
from neuron_signatures.dashboard.data.result_cache import cached_with_bar
from neuron_signatures.dashboard.data.run_tokens import TokenIndex, TokenKind, shown_gram
from neuron_signatures.dashboard.map.cached_work import table_of
from neuron_signatures.dashboard.query import answers
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.widgets.elements import empty, facts, table
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of

SHOWN = 200
_SEED = 0
_CANDIDATES = 500


def ask_neurons(ctx: PageContext, index: TokenIndex) -> None:
    gram = _choose_gram(ctx, index)
    if gram is None:
        return
    stats = table_of(ctx, include_bos=index.include_bos)
    known = stats.stats is not None
    columns = st.container(key="controls_neurons").columns(3, vertical_alignment="bottom")
    orders: list[answers.NeuronOrder] = ["z", "difference", "mean"] if known else ["mean"]
    if st.session_state["ui_query_order"] not in orders:
        st.session_state["ui_query_order"] = orders[0]
    by = columns[0].selectbox("Ranked by", orders, key="ui_query_order", help=(
        "difference: mean at this token minus the mean over all tokens. z: the difference divided by the neuron's "
        "standard deviation. mean: the mean activation at this token."))  # fmt: skip
    pole = columns[1].radio("Excited", ["most", "least"], key="ui_query_lowest", horizontal=True,
                            help="least: the most negative values first.")  # fmt: skip
    with columns[2]:
        top = whole_number("Neurons shown", "ui_query_top", low=1, high=5_000, default=SHOWN)
    ends = answers.ends_of(index, gram)
    excited = _excited(ctx, index, gram)
    rows = answers.most_excited(ctx.run, excited, stats.stats, by=by, lowest=pole == "least", top=top)
    pairs = [
        ("token", f"{shown_gram(gram)}   (id {', '.join(str(k.id) for k in gram)})"),
        ("occurrences", f"{excited.n_used:,} of {len(ends):,} read"
                        + (f", drawn at random with seed {_SEED}" if excited.n_used < excited.n_found else "")),
        ("neurons", f"{len(excited.mean):,} stored; value at the last token, mean over the occurrences"),
    ]  # fmt: skip
    pairs += [("not finite", f"{count_of(excited.n_nonfinite, 'value')} excluded")] if excited.n_nonfinite else []
    facts(pairs)
    if not known:
        empty(
            "Ranking by z needs the mean and standard deviation of every neuron over the run.",
            stage_2(ctx.run_dir),
            why=stats.why,
        )
    if not rows:
        empty("No neuron has a value that can be ranked this way.", why="Rank by the mean instead.")
        return
    _show_neurons(ctx, rows, gram, excited, by, pole)


def _show_neurons(
    ctx: PageContext,
    rows: list[answers.NeuronRow],
    gram: tuple[TokenKind, ...],
    excited: answers.Excited,
    by: answers.NeuronOrder,
    pole: str,
) -> None:
    import pandas as pd

    frame = pd.DataFrame({
        "rank": [r.rank for r in rows], "neuron": [r.at.label for r in rows], "mean": [r.mean for r in rows],
        "difference": [r.difference for r in rows], "z": [r.z for r in rows], "mean of all": [r.mean_all for r in rows],
        "std of all": [r.std_all for r in rows],
    })  # fmt: skip
    frame = frame.dropna(axis="columns", how="all")
    table(frame, "query_neurons", on_row=lambda i: ctx.open_neuron(rows[i].at), height=460, help={
        "neuron": "Click to open it.", "mean": "Mean activation over the occurrences.",
        "difference": "Mean minus the neuron's mean over all included tokens of the run.",
        "z": "Difference divided by the neuron's standard deviation over all included tokens.",
    })  # fmt: skip
    record = {
        "question": "neurons", "tokens": [k.token for k in gram], "token_ids": [k.id for k in gram],
        "occurrences": excited.n_found, "occurrences_read": excited.n_used,
        "seed": _SEED, "ranked_by": by, "pole": pole,
        "bos_counts": bool(st.session_state["ui_bos"]),
    }  # fmt: skip
    frame = frame.assign(layer=[r.at.layer for r in rows], index=[r.at.neuron for r in rows])
    downloads_with_record(ctx, frame, record, "query_neurons_of_token", "the question")


def _choose_gram(ctx: PageContext, index: TokenIndex) -> tuple[TokenKind, ...] | None:
    """The n-gram that the typed text means; the user can choose another one that it may mean."""
    left, right = st.columns(2, vertical_alignment="bottom")
    text = left.text_input(
        "One to three consecutive tokens", key="ui_query_text", placeholder="such as Austin",
        help="A part of a token, or up to three tokens, ignoring case; · is a space, ⏎ a line break. In double quotes, "
        'exactly one token: "·Austin". Empty: the last token of the prompt.',
    )  # fmt: skip
    offered = answers.grams_for(index, text, top=_CANDIDATES)
    last = (TokenKind(ctx.prompt.token_ids[-1], ctx.prompt.tokens[-1]),)
    if not text and len(answers.ends_of(index, last)):
        offered = [last, *(gram for gram in offered if gram != last)]
    if not offered:
        empty("No token of this run contains this text.", why="Several tokens are found only if they are consecutive.")
        return None
    names = [f"{shown_gram(g)}   ·   id {', '.join(str(k.id) for k in g)}" for g in offered]
    ask = "The prompt's last token, or another" if not text else count_of(len(offered), "match", "matches")
    key = f"ui_query_pick_{ctx.selection.run}_{index.include_bos}_{'t' + text if text else ctx.selection.prompt}"
    picked = right.selectbox(ask, range(len(offered)), format_func=names.__getitem__, key=key)
    return offered[int(picked)]


def _excited(ctx: PageContext, index: TokenIndex, gram: tuple[TokenKind, ...]) -> answers.Excited:
    def make(progress: Progress) -> answers.Excited:
        return answers.excited_by(
            ctx.run, index, answers.ends_of(index, gram), at_most=answers.MAX_OCCURRENCES, seed=_SEED, progress=progress
        )

    return cached_with_bar(
        "Reading the occurrences", make, "excited", ctx.data_key, index.include_bos, repr(gram)
    )  # fmt: skip
