"""Queries of the n-grams of a corpus, keyed by the stamps of the results. Do not change what is returned. All raise as
readers."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.corpus_analysis import ngrams
from neuron_signatures.runs.corpus_analysis.ngrams import ClusterEffect, NeuronEffect, NgramEffect
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.views.coords import NeuronAt


def neurons_of(ctx: PageContext, ngram: int) -> list[NeuronEffect]:
    found: list[NeuronEffect] = _neurons(ctx.run_dir, ctx.results_key, ngram)
    return found


def clusters_of(ctx: PageContext, ngram: int) -> list[ClusterEffect]:
    found: list[ClusterEffect] = _clusters(ctx.run_dir, ctx.results_key, ngram)
    return found


def ngrams_of_neuron(ctx: PageContext, at: NeuronAt, pole: Pole) -> list[NgramEffect]:
    found: list[NgramEffect] = _of_neuron(ctx.run_dir, ctx.results_key, at, pole)
    return found


def ngrams_of_cluster(ctx: PageContext, clustering: str, cluster: int) -> list[NgramEffect]:
    found: list[NgramEffect] = _of_cluster(ctx.run_dir, ctx.results_key, clustering, cluster)
    return found


@st.cache_resource(show_spinner=False, max_entries=64)
def _neurons(run_dir: Path, results_key: str, ngram: int) -> list[NeuronEffect]:
    return ngrams.neurons_of(run_dir, ngram)


@st.cache_resource(show_spinner=False, max_entries=64)
def _clusters(run_dir: Path, results_key: str, ngram: int) -> list[ClusterEffect]:
    return ngrams.clusters_of(run_dir, ngram)


@st.cache_resource(show_spinner=False, max_entries=64)
def _of_neuron(run_dir: Path, results_key: str, at: NeuronAt, pole: Pole) -> list[NgramEffect]:
    return ngrams.ngrams_of_neuron(run_dir, at.layer, at.neuron, pole)


@st.cache_resource(show_spinner=False, max_entries=64)
def _of_cluster(run_dir: Path, results_key: str, clustering: str, cluster: int) -> list[NgramEffect]:
    return ngrams.ngrams_of_cluster(run_dir, clustering, cluster)
