"""The panel *At large* of the Neuron view: weights, related neurons, clusters, meanings and n-grams, as far as they
exist."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.at_large import frames
from neuron_signatures.dashboard.corpus.panel import evidence_of
from neuron_signatures.dashboard.corpus.passage_html import passages_html
from neuron_signatures.dashboard.data import cached_records
from neuron_signatures.dashboard.data.cached_stage import at_large
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions
from neuron_signatures.dashboard.neuron.heatmap_panel import chosen_corpus_colouring
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import facts, show_error, show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.at_large.commands import MODE_WORDS
from neuron_signatures.views.at_large.neuron import AtLarge
from neuron_signatures.views.at_large.related import related_of
from neuron_signatures.views.at_large.texts import group_words, meaning_sentence, weights_sentence
from neuron_signatures.views.at_large.windows import GroupedWindows
from neuron_signatures.views.records.commands import has_records

_HELP = "What its weights alone, and the corpus as a whole, say of this neuron beside all others."
_WORDS = {"output": "output weights", "input": "input weights", "gate": "gate weights", "activation": "activation"}
_MOST_PASSAGES = 5
_MOST_RELATED = 10


def at_large_panel(ctx: PageContext) -> None:
    """Nothing if no stage has looked at neurons at large."""
    known = at_large(ctx, ctx.at)
    if not known.done:
        return
    st.markdown("#### At large", help=_HELP)
    show_lines("Some results cannot be read.", known.problems)
    words = [MODE_WORDS.get(mode, mode) for mode in known.outdated]
    show_lines("Made before the results that they use changed. Make them again.", words)
    if known.is_empty:
        st.caption("The results do not include this neuron.")
        return
    pairs = [] if known.weights is None else [("weights", weights_sentence(known.weights))]
    facts([*pairs, *((f"meanings at {m.pole}", meaning_sentence(m)) for m in known.meanings)])
    _tables(ctx, known)
    if any(m.groups for m in known.meanings):
        _meanings(ctx, known)


def _tables(ctx: PageContext, known: AtLarge) -> None:
    shown = [draw for draw, has in ((_related, known.neighbours or known.similar), (_clusters, known.clusters),
                                    (_ngrams, known.ngrams)) if has]  # fmt: skip
    if not shown:
        return
    for column, draw in zip(st.columns(3, gap="medium"), shown, strict=False):
        with column:
            draw(ctx, known)


def _related(ctx: PageContext, known: AtLarge) -> None:
    every = related_of(known)
    kinds = list(dict.fromkeys(r.by for r in every))
    if not kinds:
        return
    key = "ui_at_large_by"
    if st.session_state.get(key) not in kinds:
        st.session_state[key] = kinds[0]
    chosen = st.selectbox("Neurons alike by", kinds, key=key, format_func=lambda k: _WORDS.get(k, f"strongest {k}"))
    rows = [r for r in every if r.by == chosen][:_MOST_RELATED]
    table(frames.related_frame(rows), "at_large_related", help=frames.RELATED_HELP, at_most=230,
          formats={"value": "%+.3f", "null": "%.3f"}, on_row=lambda i: ctx.open_stored(rows[i].at))  # fmt: skip


def _clusters(ctx: PageContext, known: AtLarge) -> None:
    small("Its clusters")
    rows = known.clusters
    frame = frames.membership_frame(rows)
    numbers = [m.cluster if m.cluster >= 0 else None for m in rows]
    table(frame, "at_large_clusters", help=frames.CLUSTER_HELP, at_most=230, formats={"distance": "%.3g"},
          on_row=lambda i: ctx.open_cluster(rows[i].clustering, numbers[i]))  # fmt: skip


def _ngrams(ctx: PageContext, known: AtLarge) -> None:
    small("Its n-grams, effect in standard deviations")
    table(frames.ngram_frame(known.ngrams), "at_large_ngrams", help=frames.NGRAM_HELP, at_most=230,
          formats={"effect": "%+.2f", "held out": "%+.2f"})  # fmt: skip


def _meanings(ctx: PageContext, known: AtLarge) -> None:
    """The groups of each pole with the tokens that set them apart, and the windows of each."""
    with st.expander("Strongest windows by meaning"):
        windows = _windows(ctx)
        evidence = evidence_of(ctx)
        options = HeatmapOptions(normalise="records", scale=st.session_state["ui_scale"])
        for m, column in zip(known.meanings, st.columns(len(known.meanings), gap="medium"), strict=True):
            with column:
                small(f"at {m.pole}: {meaning_sentence(m)}")
                for g in m.groups:
                    title = f"group {g.group + 1}: {group_words(g)}"
                    own = next((w.passages for w in windows if (w.pole, w.group) == (m.pole, g.group)), ())
                    if evidence is None or not own:
                        small(title)
                        continue
                    colouring = chosen_corpus_colouring(evidence)
                    st.html(passages_html(own[:_MOST_PASSAGES], colouring, options, title=escape(title)))
                    if len(own) > _MOST_PASSAGES:
                        small(f"and {len(own) - _MOST_PASSAGES} more")


def _windows(ctx: PageContext) -> list[GroupedWindows]:
    if not has_records(ctx.run_dir):
        st.caption("The records of the corpus are not here, so the windows cannot be shown.")
        return []
    try:
        return cached_records.meaning_windows_at(ctx.run_dir, ctx.results_key, ctx.at)
    except (ProjectError, OSError) as e:
        show_error(e)
        return []
