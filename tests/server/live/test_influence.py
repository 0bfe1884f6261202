"""Influence equals the table of stage 2 for the same text, metric and reference."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from attribution_cases import loaded
from intervention_runs import demo_run
from live_cases import AUSTIN, DALLAS, DENVER, IDS, held, held_with_runs, never, plain_acts, record_run
from paths import DEMO_RUN
from tiny_models import ARCHITECTURES

from neuron_signatures.api.live import InfluenceRequest, TargetMessage
from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import list_influence
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table
from neuron_signatures.server.live import influence as module
from neuron_signatures.server.live.influence import influence_of

METRICS = ("dla", "act_grad", "relp", "ig")
ON = TargetMessage(target=" Austin", foil=" Denver")
STEPS = {"ig_steps": 20, "ig_max_steps": 20}
FLAGS = [
    "--mode", "influence", "--quiet", "--prompt_id", "0", "--target_mode", "next_token", "--target_token", " Austin",
    "--foil_token", " Denver", "--influence_metric", ",".join(METRICS), "--ig_steps", "20", "--ig_max_steps", "20",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    demo_run(folder)
    record_run(folder / "recorded")
    shutil.copytree(DEMO_RUN, folder / "small")
    return folder


def tables_of(run_dir, reference: str, *flags: str) -> dict:
    """The tables of stage 2 by metric, with the scores by the reference as `score`."""
    shutil.rmtree(run_dir / "analysis", ignore_errors=True)
    assert analyze(["--run_dir", str(run_dir), *FLAGS, "--reference", reference, *flags]) == 0
    found = {}
    for metric in METRICS:
        (stem,) = [s for s in list_influence(run_dir) if f"_{metric}_next_token" in s]
        found[metric] = read_table(run_dir, stem)
        found[metric]["score"] = found[metric]["influence" if reference == "zero" else "influence_centred"]
    return found


@pytest.mark.parametrize(
    ("run", "reference", "named"),
    [("run", "zero", "zero"), ("run", "mean", "run:run"), ("recorded", "records", "records:recorded")],
)
def test_influence_is_that_of_stage_2(root, run, reference, named):
    tables = tables_of(root / run, reference)
    for metric in METRICS:
        request = InfluenceRequest(text=DALLAS, on=ON, metric=metric, reference=named, top_k=1000, **STEPS)
        found = influence_of(held_with_runs(root), request, never)
        assert_same(found, tables[metric])
        assert found.reference.split(" ")[0] == named and ("mean over" in found.reference) == (named != "zero")


def test_influence_at_all_positions_is_that_of_stage_2(root):
    tables = tables_of(root / "run", "mean", "--ctx_idx", "all")
    for metric in METRICS:
        request = InfluenceRequest(
            text=DALLAS, on=ON, metric=metric, reference="run:run", positions="all", top_k=1000, **STEPS
        )
        found = influence_of(held_with_runs(root), request, never)
        assert_same(found, tables[metric])
        if metric != "dla":
            assert {1, 2, 8} < {r.pos for r in found.rows} <= set(range(1, 9))


def assert_same(found, table) -> None:
    key = {
        (p, layer, n): i for i, (p, layer, n) in enumerate(zip(table.ctx_idx, table.layer, table.neuron, strict=True))
    }
    scores, acts = table["score"].to_numpy(np.float64), table["activation"].to_numpy(np.float64)
    rows = [key[r.pos, r.layer, r.neuron] for r in found.rows]
    size = np.abs(scores).max()
    np.testing.assert_allclose([r.influence for r in found.rows], scores[rows], rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose([r.act for r in found.rows], acts[rows], rtol=1e-6, atol=1e-7)
    ordered = np.sort(np.abs(scores))[::-1]
    np.testing.assert_allclose(
        [abs(r.influence) for r in found.rows], ordered[: len(rows)], rtol=1e-6, atol=1e-6 * size
    )
    assert found.sum_all == pytest.approx(scores.sum(), rel=1e-5, abs=1e-5 * np.abs(scores).sum())
    assert found.sum_abs == pytest.approx(np.abs(scores).sum(), rel=1e-5)
    assert found.share_shown == pytest.approx(ordered[: len(rows)].sum() / ordered.sum(), rel=1e-5)
    assert found.on.value == pytest.approx(found.on.target.logit - found.on.foil.logit, abs=2)
    assert (found.on.target.token_id, found.on.foil.token_id) == (AUSTIN, DENVER)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_metric_on_every_architecture(name, metric):
    request = InfluenceRequest(token_ids=IDS, metric=metric, layers=[1, 2], top_k=7, ig_steps=3, ig_max_steps=3)
    found = influence_of(held(name), request, never)
    acts = plain_acts(name, IDS)
    assert len(found.rows) == 7 and {r.layer for r in found.rows} <= {1, 2} and {r.pos for r in found.rows} == {8}
    assert [abs(r.influence) for r in found.rows] == sorted((abs(r.influence) for r in found.rows), reverse=True)
    assert [r.act for r in found.rows] == pytest.approx(
        [float(acts[r.layer, 8, r.neuron]) for r in found.rows], abs=1e-4
    )
    assert all(r.reference == 0 for r in found.rows) and found.on.target.rank == 0 and found.on.foil is None
    assert 0 < found.share_shown <= 1 and abs(found.sum_all) <= found.sum_abs


def test_the_target_is_the_most_likely_token_unless_one_is_given():
    top = influence_of(held("demo"), InfluenceRequest(text=DALLAS), never).on
    given = influence_of(held("demo"), InfluenceRequest(text=DALLAS, on=TargetMessage(target_id=AUSTIN)), never).on
    assert top == given and top.target.token == " Austin" and top.value == pytest.approx(16.68, abs=0.01)
    quoted = TargetMessage(target='" Austin"')
    with pytest.raises(UsageError, match=r"on.target: .* is not one token"):  # no shell has put the quotes there
        influence_of(held("demo"), InfluenceRequest(text=DALLAS, on=quoted), never)


def test_layers_that_a_run_does_not_store_are_not_ranked(root):
    with Run.open(root / "small") as run:
        stored = set(run.layers)
    missing = min(set(range(5)) - stored)
    found = influence_of(held_with_runs(root), InfluenceRequest(text=DALLAS, reference="run:small", top_k=1000), never)
    assert {r.layer for r in found.rows} == stored and "layers have no run:small" in " ".join(found.warnings)
    # at positions before the target's, dla is 0 whatever the reference
    request = InfluenceRequest(text=DALLAS, reference="run:small", metric="dla", layers=[missing], positions="all")
    nothing = influence_of(held_with_runs(root), request, never)
    assert nothing.rows == [] and nothing.sum_abs == 0 and nothing.share_shown is None
    with pytest.raises(UsageError, match="reference: the reference is not finite"):
        influence_of(held_with_runs(root), InfluenceRequest(text=DALLAS, reference="run:small", metric="ig"), never)


def test_too_many_scores_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_SCORES", 3 * 88 * 8 - 1)
    influence_of(held("gpt2"), InfluenceRequest(token_ids=IDS), never)
    with pytest.raises(UsageError, match=r"2,112 scores \(8 positions\), more than"):
        influence_of(held("gpt2"), InfluenceRequest(token_ids=IDS, positions="all"), never)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"on": {"target": " Austin", "target_id": 3}}, "on.target, on.target_id: give the token or its id, not both"),
        ({"on": {"target": " Austin Texas"}}, r"on.target: .*'·Austin' 704, '·Texas' 751"),
        ({"on": {"target_id": 99999}}, r"on.target_id: 99999 is not in 0..\d+"),
        ({"on": {"target_id": 704, "foil": " Austin"}}, "on.foil_id 704: the foil is the target"),
        ({"on": {"pos": 9}}, "on.pos: 9 is not in a prompt of 9 tokens"),
        ({"layers": [5]}, "layers: layer 5 is not in 0..4"),
        ({"reference": "mean"}, "reference: this server has no runs"),
        ({"reference": "prompt:x"}, "reference: 'prompt:x' is not run:NAME or records:NAME"),
    ],
)
def test_what_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        influence_of(held("demo"), InfluenceRequest(text=DALLAS, **fields), never)
    assert loaded("demo").hf.get_output_embeddings() is not None
