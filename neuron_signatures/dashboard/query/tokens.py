"""The first question of the Query view: which tokens or n-grams excite a neuron or a set of neurons?"""

from __future__ import annotations

from typing import Any, cast

import streamlit as st

from neuron_signatures.dashboard.data.cached_reads import ranked
from neuron_signatures.dashboard.data.exports import downloads_with_record
from neuron_signatures.dashboard.data.neuron_sets import NeuronSet, group_sets, list_set, typed_set
from neuron_signatures.dashboard.data.neuron_stats import Progress
from neuron_signatures.dashboard.data.result_cache import cached, cached_with_bar
from neuron_signatures.dashboard.data.run_tokens import Grams, TokenIndex, grams_of, shown_gram
from neuron_signatures.dashboard.map.cached_work import table_of
from neuron_signatures.dashboard.map.panels import CLUSTER_SET
from neuron_signatures.dashboard.query.answers import RANKS, GramRow, GramTable, RankBy, gram_table
from neuron_signatures.dashboard.query.response import MAX_SET, Response, Scale, response_of
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.sidebar import filters
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import empty, facts, show_error, table
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.tokens import brief, encodable, escape

_SETS = {"selected": "the selected neuron", "typed": "typed coordinates", "list": "the first of the selected list",
         "group": "a signature group", "cluster": "a cluster of the map"}  # fmt: skip
_FIRST = 20
_MOST_GROUPS = 1000
_BY = {"mean": "largest mean", "max": "largest value", "min": "smallest value"}


def ask_tokens(ctx: PageContext, index: TokenIndex) -> None:
    chosen = _choose_set(ctx)
    if chosen is None:
        return
    several = len(chosen.neurons) > 1
    columns = st.container(key="controls_tokens").columns(4, vertical_alignment="bottom")
    n = columns[0].radio("Consecutive tokens", [1, 2, 3], key="ui_query_n", horizontal=True,
                         help="The value is that at the last token. N-grams do not cross prompts.")  # fmt: skip
    by = columns[1].selectbox("Ranked by", list(RANKS), format_func=_BY.__getitem__, key="ui_query_by",
                              help="Rank by the smallest value to see the negative pole.")  # fmt: skip
    with columns[2]:
        at_least = whole_number("Minimum occurrences", "ui_query_min", low=1, high=10_000, default=1)
    scale: Scale = "activation"
    if several:
        scale = columns[3].radio(
            "Mean of", ["z", "activation"], key="ui_query_scale", horizontal=True,
            help="z: each neuron's activation minus its mean over the run, divided by its standard deviation, so that "
            "all neurons have equal weight. activation: neurons with large activations dominate.",
        )  # fmt: skip
    response = _response(ctx, index, chosen, scale)
    grams = cached(lambda: grams_of(index, n), "grams", ctx.data_key, index.include_bos, n)
    found = gram_table(ctx.run, index, grams, response.values, by=by, min_count=at_least,
                       top=int(st.session_state["ui_query_top"]))  # fmt: skip
    _show_grams(ctx, chosen, response, grams, found, by, at_least)


def _choose_set(ctx: PageContext) -> NeuronSet | None:
    """The neurons of the question; None if a message was shown instead."""
    key, cluster = st.session_state.get(CLUSTER_SET, (None, None))
    cluster = cluster if key == ctx.data_key else None
    listed = ctx.listed
    options = ["selected", "typed"] + (["list"] if listed else [])
    options += ["group"] if any(r.kind == "signatures" for r in ctx.lists) else []
    options += ["cluster"] if cluster else []
    if st.session_state["ui_query_set"] not in options:
        st.session_state["ui_query_set"] = options[0]
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    which = left.selectbox("Neurons", options, format_func=_SETS.__getitem__, key="ui_query_set")
    if which == "typed":
        text = right.text_input("Coordinates", key="ui_query_typed", placeholder="L3N4, L3N5")
        if not text.strip():
            empty("Type one or more neurons.", why="For example L3N4, L3N5 or 3/4.")
            return None
        try:
            return typed_set(text, ctx.run).cut(MAX_SET)
        except UsageError as e:
            show_error(e)
            return None
    if which == "list" and listed:
        with right:
            first = whole_number("How many", "ui_query_first", low=1, high=MAX_SET, default=_FIRST)
        found = list_set(ranked(ctx.run_dir, ctx.results_key, listed), filters(), ctx.run, first)
        if not found.neurons:
            empty("The selected list has no row of a stored neuron that passes the filters on the left.")
            return None
        return found
    if which == "group":
        return _choose_group(ctx, right)
    if which == "cluster" and cluster:
        return cast(NeuronSet, cluster).cut(MAX_SET)
    return NeuronSet(ctx.at.label, (ctx.at,))


def _choose_group(ctx: PageContext, where: Any) -> NeuronSet | None:
    try:
        groups = cached(lambda: group_sets(ctx.run), "groups", ctx.data_key, ctx.results_key)
    except ProjectError as e:
        show_error(e)
        return None
    groups = [g for g in groups if g.neurons]
    if not groups:
        empty("The signatures of this run have no groups.")
        return None
    if len(groups) > _MOST_GROUPS:
        where.caption(f"The {_MOST_GROUPS} largest of {len(groups)} groups.")
        groups = groups[:_MOST_GROUPS]
    names = [f"{escape(g.name[:60])[:60]} ({len(g.neurons)})" for g in groups]
    if st.session_state.get("ui_query_group") not in range(len(groups)):
        st.session_state["ui_query_group"] = 0
    row = where.selectbox("Group", range(len(groups)), format_func=names.__getitem__, key="ui_query_group")
    return groups[int(row)].cut(MAX_SET)


def _response(ctx: PageContext, index: TokenIndex, chosen: NeuronSet, scale: Scale) -> Response:
    stats = table_of(ctx, include_bos=index.include_bos).stats if scale == "z" else None

    def make(progress: Progress) -> Response:
        signs = chosen.signs or None
        return response_of(ctx.run, index, chosen.neurons, scale=scale, stats=stats, signs=signs, progress=progress)

    key = (chosen.neurons, chosen.signs, scale, index.include_bos, ctx.results_key if stats else "")
    return cached_with_bar("Reading the neurons on all prompts", make, "response", ctx.data_key, *map(str, key))


def _show_grams(
    ctx: PageContext, chosen: NeuronSet, response: Response, grams: Grams, found: GramTable, by: RankBy, at_least: int
) -> None:
    import pandas as pd

    several = len(chosen.neurons) > 1
    what = f"mean {response.scale} over {len(chosen.neurons):,} neurons" if several else "activation"
    what += ", at the last token"
    pairs = [("neurons", brief(chosen.name) if not several else f"{brief(chosen.name)}: {_first_names(chosen)}")]
    pairs += [("value", what + ("; negative poles with reversed sign" if -1 in chosen.signs else ""))]
    pairs += [("z from", response.moments_by)] if response.moments_by else []
    pairs += [("truncated", f"the first {len(chosen.neurons):,} of {chosen.of:,} neurons")] if chosen.of else []
    pairs += [("note", chosen.note)] if chosen.note else []
    n_constant = response.n_constant
    pairs += [("left out", f"{count_of(n_constant, 'neuron')} with constant activation")] if n_constant else []
    often = f", {found.n_frequent:,} of them with at least {at_least:,} occurrences" if at_least > 1 else ""
    cut = f"; the first {len(found.rows):,} are shown" if len(found.rows) < found.n_frequent else ""
    pairs += [("n-grams", f"{found.n_groups:,} in the run{often}, {_BY[by]} first{cut}")]
    pairs += [("not finite", f"{count_of(found.n_nonfinite, 'occurrence')} excluded")] if found.n_nonfinite else []
    facts(pairs)
    if not found.rows:
        _no_grams(response, found, grams)
        return
    frame = pd.DataFrame({
        "n-gram": [shown_gram(r.gram) for r in found.rows],
        "id": [", ".join(str(k.id) for k in r.gram) for r in found.rows], "n": [r.n for r in found.rows],
        "mean": [r.mean for r in found.rows], "max": [r.max for r in found.rows], "min": [r.min for r in found.rows],
        "std": [r.std for r in found.rows], "prompt": [brief(r.prompt_id) for r in found.rows],
        "position": [r.pos for r in found.rows],
    })  # fmt: skip
    help = {
        "n-gram": "Click to open the prompt. The value is that at the last token.",
        "id": "The token ids.", "position": "Position of the last token in this prompt, from 0.",
        "n": "Occurrences with a finite value.", "std": "Population standard deviation over the occurrences.",
        "prompt": "The prompt with the largest value, or the smallest if ranked by smallest value.",
    }  # fmt: skip
    table(frame, "query_grams", help=help, height=460, on_row=lambda i: _open(ctx, found.rows[i], chosen))
    raw = frame.assign(**{
        "tokens": [[encodable(k.token) for k in r.gram] for r in found.rows],
        "token_ids": [[k.id for k in r.gram] for r in found.rows],
        "prompt": [encodable(r.prompt_id) for r in found.rows],
    })  # fmt: skip
    record = {
        "question": "tokens", "neurons": [at.label for at in chosen.neurons], "signs": chosen.signs,
        "set": chosen.name, "value": what, "moments": response.moments_by, "ranked_by": by, "min_count": at_least,
        "n": grams.n, "bos_counts": bool(st.session_state["ui_bos"]),
    }  # fmt: skip
    downloads_with_record(ctx, raw, record, "query_tokens", "the question")


def _open(ctx: PageContext, row: GramRow, chosen: NeuronSet) -> None:
    """Open the row's prompt, with the neuron if the question is about a single one."""
    ctx.choose(prompt=row.prompt_index, view=View.NEURON)
    if len(chosen.neurons) == 1:
        ctx.open_neuron(chosen.neurons[0])


def _no_grams(response: Response, found: GramTable, grams: Grams) -> None:
    if response.n_constant == response.n_neurons:
        empty("These neurons have constant activation, so z is undefined.", why="Choose the mean activation.")
    elif found.n_groups == 0:
        empty(
            f"No prompt of this run has {grams.n} consecutive included tokens.", why="Choose fewer consecutive tokens."
        )
    elif found.n_frequent == 0 and found.n_nonfinite:
        empty("These neurons have no finite value at n-grams with this many occurrences.")
    else:
        empty("No n-gram has this many occurrences.", why="Lower the minimum.")


def _first_names(chosen: NeuronSet) -> str:
    signs = chosen.signs or (0,) * len(chosen.neurons)
    marks = {1: "+", -1: "-", 0: ""}
    names = [at.label + marks[sign] for at, sign in zip(chosen.neurons[:12], signs[:12], strict=True)]
    more = len(chosen.neurons) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")
