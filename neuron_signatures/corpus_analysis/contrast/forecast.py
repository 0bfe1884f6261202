"""What `contrast` takes, before it is run."""

from __future__ import annotations

from neuron_signatures.corpus_analysis.contrast.request import HELD_OUT, PART, ContrastRequest
from neuron_signatures.corpus_analysis.contrast.stage import layers_of, name_of, refuse_few, sides_of
from neuron_signatures.corpus_analysis.contrast.summary import ContrastForecast
from neuron_signatures.corpus_analysis.speed import model_seconds
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


def forecast(request: ContrastRequest) -> ContrastForecast:
    """Nothing is written, and no model is loaded. The positions are found."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        layers, _ = layers_of(run, records, request), name_of(request)
        own, held = (sides_of(request, records, part) for part in (PART, HELD_OUT))
        refuse_few(own, request)
        n_tokens = sum(int(records.corpus.window_length[sides.windows].sum()) for sides in (own, held))
        n_neurons = len(layers) * records.d_mlp
        n_a, n_b, held_a, held_b = (len(side.places.window) for side in (own.a, own.b, held.a, held.b))
        memory = 4 * (n_a + n_b + held_a + held_b) * n_neurons
        seconds = model_seconds(records, n_tokens)
        return ContrastForecast(n_a, n_b, held_a, held_b, n_neurons, n_tokens, memory, seconds)
