"""What `ngrams` takes, before it is run."""

from __future__ import annotations

from neuron_signatures.corpus_analysis.ngrams.request import HELD_OUT, PART, NgramsRequest
from neuron_signatures.corpus_analysis.ngrams.stage import bytes_of, index_of, layer_groups, layers_of
from neuron_signatures.corpus_analysis.ngrams.summary import NgramsForecast
from neuron_signatures.corpus_analysis.passes import choose_windows
from neuron_signatures.corpus_analysis.speed import model_seconds
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


def forecast(request: NgramsRequest) -> NgramsForecast:
    """Nothing is written, and no model is loaded. The corpus is counted."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        layers = layers_of(run, records, request)
        index = index_of(request, records)
        groups = layer_groups(request, layers, records.d_mlp, len(index))
        corpus = records.corpus
        parts = [p for p in (PART, HELD_OUT) if (corpus.document_part == PARTS.index(p)).any()]
        n_tokens = int(corpus.window_length[choose_windows(corpus, parts)].sum())
        memory = bytes_of(len(index), records.d_mlp * max(len(group) for group in groups))
        seconds = model_seconds(records, n_tokens * len(groups))
    return NgramsForecast(len(index), len(layers) * records.d_mlp, n_tokens, len(groups), memory, seconds)
