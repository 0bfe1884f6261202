"""Work whose request was given up ends between its forward passes."""

from __future__ import annotations

import pytest
from attribution_cases import loaded
from intervention_runs import demo_run
from live_cases import IDS, StopAfter, held, held_with_runs

from neuron_signatures.api.live import (
    ActivationsRequest,
    EditMessage,
    GenerateRequest,
    InfluenceRequest,
    InterveneRequest,
)
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.server.held import GivenUp
from neuron_signatures.server.live.activations import activations
from neuron_signatures.server.live.generate import generate
from neuron_signatures.server.live.influence import influence_of
from neuron_signatures.server.live.intervene import intervene

EDIT = EditMessage(layer=1, neurons=[3], positions=[2])
LONG = [
    (generate, GenerateRequest(token_ids=IDS, max_new_tokens=50)),
    (influence_of, InfluenceRequest(token_ids=IDS, metric="ig", ig_steps=200, ig_max_steps=200)),
    (intervene, InterveneRequest(token_ids=IDS, edits=[EDIT], controls=1000)),
]


@pytest.fixture
def passes(monkeypatch):
    """Counts the forward passes of GPT-2, also those without the unembedding."""
    seen = []
    handle = loaded("gpt2").hf.transformer.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


@pytest.mark.parametrize(("work", "request_"), LONG, ids=["generate", "ig", "controls"])
def test_long_work_ends_soon_after_it_is_given_up(passes, work, request_):
    work(held("gpt2"), request_, StopAfter(10**9))
    whole = len(passes)
    passes.clear()
    stop = StopAfter(6)
    with pytest.raises(GivenUp):
        work(held("gpt2"), request_, stop)
    assert stop.asked == 6 and 0 < len(passes) < min(whole, 12)


def test_a_mean_over_a_run_is_given_up_between_its_prompts(tmp_path):
    demo_run(tmp_path)
    here = held_with_runs(tmp_path)
    for work, request in (
        (influence_of, InfluenceRequest(token_ids=IDS, reference="run:run")),
        (activations, ActivationsRequest(token_ids=IDS, against_run="run")),
    ):
        stop = StopAfter(8)
        with pytest.raises(GivenUp):
            work(here, request, stop)
        assert stop.asked == 8 and not here.kept


def test_controls_run_in_batches(monkeypatch):
    """So that there is something between two passes."""
    sizes = []
    run = Copies._pass
    monkeypatch.setattr(Copies, "_pass", lambda self, members: sizes.append(len(members)) or run(self, members))
    intervene(held("gpt2"), InterveneRequest(token_ids=IDS, edits=[EDIT], controls=150), StopAfter(10**9))
    assert sizes == [64, 64, 22]
