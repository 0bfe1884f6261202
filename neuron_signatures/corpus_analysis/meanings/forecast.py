"""What `meanings` takes, before it is run: some lists and draws are timed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from neuron_signatures.corpus_analysis.choice import choose
from neuron_signatures.corpus_analysis.meanings.request import PART, MeaningsRequest
from neuron_signatures.corpus_analysis.meanings.stage import LayerContexts, by_layer, prepare
from neuron_signatures.corpus_analysis.meanings.summary import MeaningsForecast
from neuron_signatures.corpus_analysis.meanings.tables import Rows
from neuron_signatures.corpus_analysis.meanings.tokens import token_shares
from neuron_signatures.runs.records.names import POLES, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

_LISTS, _DRAWS = 20, 5


def forecast(request: MeaningsRequest) -> MeaningsForecast:
    """Nothing is written. The embedding is fitted or loaded, and the lists of a few neurons are computed."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        choice = choose(run, records, request.choice)
        start = time.perf_counter()
        prepared = prepare(replace(request, n_null=_DRAWS), records)
        rows = Rows(records.corpus, token_shares(records.corpus, PART))
        fixed = time.perf_counter() - start
        n_contexts, lengths, seconds, timed = 0, set[tuple[Pole, int]](), 0.0, 0
        for layer, neurons in by_layer(choice):
            of_layer = LayerContexts.read(prepared, layer)
            for pole in request.poles:
                strong = of_layer.lists.strong[neurons, POLES.index(pole)].sum(axis=1)
                enough = strong[strong >= request.min_windows]
                n_contexts += int(enough.sum())
                lengths |= {(pole, int(n)) for n in np.unique(enough)}
            if timed:
                continue
            for neuron in neurons[:_LISTS]:  # the draws of their nulls once, before they are timed
                of_layer.add_rows(rows, neuron, request.poles[0])
            start = time.perf_counter()
            for neuron in neurons[:_LISTS]:
                of_layer.add_rows(rows, neuron, request.poles[0])
            seconds, timed = time.perf_counter() - start, len(neurons[:_LISTS])
        start = time.perf_counter()
        for pole, n in sorted(lengths, key=lambda of: of[1])[-1:]:
            prepared.nulls.of(pole, n)
        of_draw = (time.perf_counter() - start) / _DRAWS
    n_lists = len(choice.chosen) * len(request.poles)
    total = fixed + seconds / max(1, timed) * n_lists + of_draw * request.n_null * len(lengths)
    return MeaningsForecast(len(choice.chosen), n_lists, n_contexts, request.n_null, total)
