"""Surprisal with a tiny random model: losses are those of plain forward passes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from judge_cases import World, item, make_world, tools_of
from sklearn.metrics import roc_auc_score
from tiny_chat import Spec, make_chat_model

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.local import LocalClient
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.judges.surprisal import SurprisalScorer
from neuron_signatures.scoring.judges.windows import plain_examples
from neuron_signatures.scoring.scorer import Item, ItemScorer, Scored
from neuron_signatures.scoring.tools import Tools

DESIGN = Design(n_draws=100)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("planted") / "run", ["token"], 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return with_context(make_chat_model(tmp_path_factory.mktemp("chat")), 1024)


def with_context(folder, n: int):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": n}))
    return folder


def score(
    client: LocalClient, items: Sequence[Item], texts: NeuronTexts, world: World, *, design: Design = DESIGN
) -> list[Scored]:
    async def go() -> list[Scored]:
        session = Session(client, RequestFiles(world.folder), None, Limits(), None, "score")
        with Records.open(world.folder) as records:
            scorer = SurprisalScorer(Tools(Run.open(world.folder), records, design, session))
            assert isinstance(scorer, ItemScorer)
            return [await scorer.score(one, texts) for one in items]

    return asyncio.run(go())


def only(scored: Scored):
    (measured,) = scored.measures.values()
    return measured


def mean_loss(client: LocalClient, prefix: str, text: str) -> float:
    """By one forward pass without cache, batch or padding."""
    template = client.chat_model.template
    before = [template.tokenizer.bos_token_id, *template.encode_plain(prefix)]
    ids = template.encode_plain(text)
    with torch.inference_mode():
        logprobs = client.chat_model.loaded.hf(torch.tensor([[*before, *ids]])).logits[0].float().log_softmax(-1)
    return -float(np.mean([float(logprobs[len(before) + i - 1, token]) for i, token in enumerate(ids)]))


def test_the_score_is_the_auroc_of_the_loss_reduction(folder, world):
    client, texts = LocalClient(Spec(str(folder))), world.texts(0)
    (found,) = score(client, [item("the word Austin")], texts, world)
    shown = {one.text.window: one for one in plain_examples(texts, DESIGN)}
    assert len(found.examples) == 20 and found.statuses == ["ok"] * 20
    for example in found.examples[:6]:
        text = "".join(shown[example["window"]].text.tokens)
        with_it = "The text below contains the following: the word Austin\n\nText:\n"
        assert example["loss"] == pytest.approx(mean_loss(client, "Text:\n", text), abs=1e-4)
        assert example["loss_with"] == pytest.approx(mean_loss(client, with_it, text), abs=1e-4)
    reduction = [e["loss"] - e["loss_with"] for e in found.examples]
    labels = [e["label"] for e in found.examples]
    assert only(found).value == pytest.approx(roc_auc_score(labels, reduction), abs=1e-9)
    assert only(found).low <= only(found).value <= only(found).high
    assert list(found.measures) == ["auroc/surprisal"] and (only(found).n, only(found).n_positive) == (20, 10)
    assert found.cost == 0 and found.prompt_tokens > 100 and found.answered_by.endswith(client.version)


def test_controls(folder, world):
    client, texts = LocalClient(Spec(str(folder))), world.texts(0)
    names = ["other", "shuffled", "empty", "text", "constant", "ceiling"]
    found = score(client, [item("" if c == "empty" else "a b", control=c) for c in names], texts, world)
    assert [only(s).value for s in found[4:]] == [0.5, 1.0] and all(s.statuses == () for s in found[4:])
    assert all(only(s).low is None and not s.examples for s in found)
    assert only(found[2]).value is not None


def test_scores_depend_neither_on_what_was_scored_before_nor_on_the_process(folder, world):
    items = [item(f"words about {w}") for w in ("rain", "cities", "code")]
    first = score(LocalClient(Spec(str(folder))), items, world.texts(0), world)
    again = score(LocalClient(Spec(str(folder))), items[::-1], world.texts(0), world)[::-1]
    assert [(s.measures, s.examples) for s in first] == [(s.measures, s.examples) for s in again]


def test_losses_without_an_explanation_are_read_once_per_neuron(folder, world):
    client, calls = LocalClient(Spec(str(folder))), []
    losses = client.token_losses

    async def counted(prefix, rows, **more):
        calls.append(prefix)
        return await losses(prefix, rows, **more)

    client.token_losses = counted
    score(client, [item("a"), item("b"), item("c")], world.texts(0), world)
    assert len(calls) == 4 and len(set(calls)) == 4


def test_windows_beyond_the_context_are_left_out_and_counted(tmp_path, world):
    texts = world.texts(0)
    client = LocalClient(Spec(str(with_context(make_chat_model(tmp_path), 120))))
    (found,) = score(client, [item("a b c d")], texts, world, design=Design(n_draws=10, min_positives=1))
    assert set(found.statuses) == {"ok", "too_long"} and "context" in found.reason
    assert only(found).n == found.statuses.count("ok")
    (none,) = score(client, [item("word " * 100)], texts, world)
    assert none.status == "too_long" and (only(none).value, only(none).undefined) == (None, "no_windows")


def test_losses_that_are_not_finite_are_no_score(folder, world):
    client = LocalClient(Spec(str(folder)))
    with torch.no_grad():
        client.chat_model.loaded.hf.lm_head.weight.fill_(float("nan"))
    (found,) = score(client, [item("a")], world.texts(0), world)
    assert found.status == "api_error" and "not finite" in found.reason and only(found).value is None


def test_a_model_with_the_tokenizer_of_the_subject_reads_its_token_ids(folder, world, monkeypatch):
    client, texts, rows = LocalClient(Spec(str(folder))), world.texts(0), []
    losses = client.token_losses

    async def kept(prefix, of, **more):
        rows.extend(of)
        return await losses(prefix, of, **more)

    client.token_losses = kept
    for groups in (texts.scored,):
        for text in [t for group in groups.values() for t in group]:
            object.__setattr__(text, "token_ids", tuple(range(5, 5 + len(text.tokens))))
    same = Run.open(world.folder).manifest.tokenizer_sha256
    monkeypatch.setattr("neuron_signatures.models.tokens.tokenizer_sha256", lambda _: same)
    score(client, [item("a")], texts, world)
    assert {row[0] for row in rows} == {5}


def test_a_local_model_is_needed(world):
    for with_model in (True, False):
        with pytest.raises(UsageError, match="needs a local language model"):
            SurprisalScorer(tools_of(world, with_model=with_model))
