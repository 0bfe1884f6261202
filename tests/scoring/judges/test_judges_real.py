"""Judges with the real small model: their requests work. Whether the scores mean anything is in docs/scores.md."""

from __future__ import annotations

import asyncio

import pytest
from judge_cases import item, make_world
from tiny_chat import Spec

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.local import LocalClient
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.judges.detection import DetectionScorer
from neuron_signatures.scoring.judges.fuzzing import FuzzingScorer
from neuron_signatures.scoring.judges.surprisal import SurprisalScorer
from neuron_signatures.scoring.tools import Tools

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("planted") / "run", ["token"], 1)


@pytest.fixture(scope="module")
def client():
    return LocalClient(Spec("smollm2", dtype="fp32", batch_size=8))


def tools(world, client, folder) -> Tools:
    session = Session(client, RequestFiles(folder), None, Limits(), None, "score")
    with Records.open(world.folder) as records:
        return Tools(Run.open(world.folder), records, Design(n_draws=100), session)


def test_surprisal_reads_every_window(world, client, tmp_path):
    scorer, texts = SurprisalScorer(tools(world, client, tmp_path)), world.texts(0)
    found = asyncio.run(scorer.score(item(world.neurons[0].rule.truth, at=texts.at), texts))
    measured = found.measures["auroc/surprisal"]
    assert found.statuses == ["ok"] * 20 and 0 <= measured.low <= measured.value <= measured.high <= 1
    losses = [e["loss"] for e in found.examples]
    assert min(losses) > 0.5 and max(losses) < 12  # nats per token; 10.8 is a uniform guess


@pytest.mark.parametrize("of", [DetectionScorer, FuzzingScorer])
def test_its_answers_can_be_read(of, world, client, tmp_path):
    scorer = of(tools(world, client, tmp_path))
    texts = world.texts(0)
    found = asyncio.run(scorer.score(item(world.neurons[0].rule.truth, at=texts.at), texts))
    (measured,) = found.measures.values()
    print(measured, found.statuses, [e["answer"] for e in found.examples])
    assert found.statuses.count("ok") >= 2 and found.answered_by.startswith("smollm2@")
