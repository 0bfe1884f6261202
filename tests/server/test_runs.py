"""Runs over HTTP: what is read is what the readers say, names are confined, and damage is one line."""

from __future__ import annotations

import json
import math
import os
import shutil
from urllib.parse import quote

import pytest
from analysis_runs import make_run, random_acts
from explorer import HALF, HOSTILE
from hand_made_records import records_of
from paths import DEMO_RUN
from run_folders import write_v1
from score_runs import make_scored_run
from server_apps import served

from neuron_signatures.api.neuron_page import NeuronPage
from neuron_signatures.api.runs import ExplanationList, RunFacts, RunList
from neuron_signatures.explain.exchange.neuronpedia import Explanation as NeuronpediaExplanation
from neuron_signatures.records.exchange.neuronpedia import Activation as NeuronpediaActivation
from neuron_signatures.records.exchange.neuronpedia import histogram_bars
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import PARTS, POLES
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.facts import write_scores_of

NEURONPEDIA_NEURON = {
    "modelId", "layer", "index", "sourceSetName", "createdAt", "maxActApprox", "hasVector", "vector", "vectorLabel",
    "vectorDefaultSteerStrength", "hookName", "topkCosSimIndices", "topkCosSimValues", "neuron_alignment_indices",
    "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson",
    "correlated_neurons_l1", "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1",
    "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero", "freq_hist_data_bar_heights",
    "freq_hist_data_bar_values", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist",
    "umap_cluster", "umap_log_feature_sparsity", "umap_x", "umap_y", "activations", "explanations",
}  # fmt: skip
"""The columns of its table Neuron that do not belong to an account, and its two lists."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_scored_run(folder / "scored")
    shutil.copytree(DEMO_RUN, folder / "demo")
    return folder


@pytest.fixture(scope="module")
def client(root):
    with served(runs_root=root) as client:
        yield client


def page_of(client, path: str) -> NeuronPage:
    answer = client.get(f"/v1/runs/{path}")
    assert answer.status_code == 200, answer.text
    return NeuronPage.model_validate_json(answer.content)


def listed(client, query: str = "", run: str = "scored") -> ExplanationList:
    answer = client.get(f"/v1/runs/{run}/explanations{query}")
    assert answer.status_code == 200, answer.text
    return ExplanationList.model_validate_json(answer.content)


def problem_of(answer, status: int, kind: str) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    found = answer.json()
    assert found["type"] == kind and "\n" not in found["detail"]
    return found["detail"]


# --- the list, and one run


def test_runs_are_listed_by_name_with_broken_ones(tmp_path):
    shutil.copytree(DEMO_RUN, tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file").write_text("")
    with served(runs_root=tmp_path) as client:
        found = RunList.model_validate(client.get("/v1/runs").json())
        assert [(r.name, r.status) for r in found.runs] == [("broken", "broken"), ("whole", "complete")]
        assert found.total == 3 and found.runs[0].problem
        whole = found.runs[1]
        assert (whole.model_name, whole.n_prompts) == ("demo", Run.open(DEMO_RUN).manifest.n_prompts)
        second = RunList.model_validate(client.get("/v1/runs?offset=2&limit=1").json())
        assert ([r.name for r in second.runs], second.offset) == (["whole"], 2)


def test_without_a_root_there_are_no_runs(tmp_path):
    for root in (None, tmp_path / "later"):
        with served(runs_root=root) as client:
            assert client.get("/v1/runs").json() == {"total": 0, "offset": 0, "runs": []}
            problem_of(client.get("/v1/runs/x"), 404, "not_found")


def test_a_run_says_what_its_manifest_says(client, root):
    facts = RunFacts.model_validate(client.get("/v1/runs/demo").json())
    with Run.open(root / "demo") as run:
        m = run.manifest
        assert facts.n_bytes == run.nbytes()
    same = ("model_name", "n_layers", "layers", "d_mlp", "n_prompts", "n_tokens", "architecture", "save_dtype", "seed")
    assert all(getattr(facts, name) == getattr(m, name) for name in same)
    assert [s.name for s in facts.stages] == ["analysis"] and not facts.problems
    assert [(p.id, p.n_tokens) for p in facts.prompts] == [(p.probe_id, p.seq_len) for p in m.prompts]
    scored = RunFacts.model_validate(client.get("/v1/runs/scored").json())
    assert {s.name for s in scored.stages} == {"records", "explanations", "scores"}
    assert "scored" in next(s.holds for s in scored.stages if s.name == "scores")


# --- the page of a neuron


@pytest.mark.parametrize("neuron", [0, 1, 2, 5])
def test_the_page_has_the_values_of_the_readers(client, root, neuron):
    page = page_of(client, f"scored/neurons/1/{neuron}?texts=5")
    with Records.open(root / "scored") as records:
        strongest = {pole: records.strongest(1, neuron, pole, k=5) for pole in POLES}
        moments, bars = records.moments(1, neuron), histogram_bars(records, 1, neuron, PARTS)
        sampled = records.sampled(1, neuron)
        acts = records.sample(1, neuron) if sampled else None
    extras = page.neuron_signatures
    assert extras.sampled == sampled
    for pole, shown in (("+", page.activations), ("-", extras.negative.activations)):
        assert [a.tokens for a in shown] == [list(w.tokens) for w in strongest[pole]]
        assert [a.neuron_signatures.pos for a in shown] == [w.pos for w in strongest[pole]]
        for a, w in zip(shown, strongest[pole], strict=True):
            peak = a.maxValue if pole == "+" else a.minValue
            assert peak == a.values[w.pos] == pytest.approx(w.value, rel=1e-5)
            if w.acts is not None:
                assert a.values == pytest.approx(w.acts.tolist(), rel=1e-6)
            else:
                assert [i for i, v in enumerate(a.values) if v is not None] == [w.pos]
                assert not a.neuron_signatures.stored
    assert page.maxActApprox == (strongest["+"][0].value if strongest["+"] else None)
    assert extras.negative.minActApprox == (strongest["-"][0].value if strongest["-"] else None)
    assert extras.moments is not None and extras.moments.mean == moments.mean and extras.moments.std == moments.std
    assert page.freq_hist_data_bar_heights == bars.heights and page.freq_hist_data_bar_values == bars.values
    if acts is None:
        assert page.frac_nonzero is None
        assert any("not stored" in note for note in extras.notes)
    else:
        assert page.frac_nonzero == pytest.approx((acts.acts[acts.counts] != 0).mean())


def test_the_explanations_have_their_scores_with_nulls(client, root):
    rows = {(r.explanation_id, f"{r.scorer}/{r.score}"): r for r in Scores.open(root / "scored").of(0, 0)}
    shown = Explanations.open(root / "scored").of(0, 0)
    page = page_of(client, "scored/neurons/0/0")
    for pole, found in (("+", page.explanations), ("-", page.neuron_signatures.negative.explanations)):
        wanted = [s for s in shown if s.entry.status == "ok" and s.entry.pole == pole]
        assert {e.id for e in found} == {s.id for s in wanted}
        states = [e.neuron_signatures.current for e in found]
        assert states == sorted(states, reverse=True)
        assert {e.description for e in found} == {s.text for s in wanted}
    scores = [s for e in page.explanations for s in e.scores]
    assert {s.explanationScoreTypeName for s in scores} >= {"embedding/correlation/uniform", "rule/auprc/uniform"}
    for s in scores:
        row = rows[s.explanationId, s.explanationScoreTypeName]
        ours = s.neuron_signatures
        assert row.split == "report" and s.value == ours.value == row.value
        assert (ours.null_best, ours.null_sd, ours.null_n, ours.null_p) == (
            row.null_best, row.null_sd, row.null_n, row.null_p)  # fmt: skip
    assert any(s.neuron_signatures.null_p is not None for s in scores)


def test_an_undefined_score_is_null_with_its_reason(client):
    pages = [page_of(client, f"scored/neurons/{layer}/{n}") for layer in range(2) for n in range(4)]
    every = [e for p in pages for e in (*p.explanations, *p.neuron_signatures.negative.explanations)]
    undefined = [s for e in every for s in e.scores if s.value is None]
    assert undefined and all(s.neuron_signatures.undefined for s in undefined)


def test_the_page_is_readable_as_neuronpedia(client):
    """Its fields are those of Neuronpedia's tables, and our own readers of its exports take them."""
    page = client.get("/v1/runs/scored/neurons/0/0").json()
    assert page.keys() == NEURONPEDIA_NEURON | {"neuron_signatures"}
    assert (page["modelId"], page["layer"], page["index"]) == ("toy", "0-mlp", "0")
    assert page["hookName"] == "blocks.0.mlp.hook_post"
    assert page["activations"] and page["explanations"]
    for text in page["activations"]:
        read = NeuronpediaActivation.model_validate(text)
        assert read.neuron == (0, 0) and read.is_strongest
        assert text["values"][text["maxValueTokenIndex"]] == text["maxValue"]
    for explanation in page["explanations"]:
        read = NeuronpediaExplanation.model_validate(explanation)
        assert read.place == (0, "mlp") and read.description
        for score in explanation["scores"]:
            assert score.keys() == {
                "value", "explanationId", "explanationScoreTypeName", "explanationScoreModelName", "jsonDetails",
                "neuron_signatures",
            }  # fmt: skip


def test_without_records_the_texts_are_the_prompts(client, root):
    page = page_of(client, "demo/neurons/3/508?texts=100")
    with Run.open(root / "demo") as run:
        acts = {p.probe_id: run.acts(p, layer=3, neuron=508) for p in run.prompts}
        first = {p.probe_id: min(1, p.seq_len - 1) for p in run.prompts}
    for sign, shown in ((1, page.activations), (-1, page.neuron_signatures.negative.activations)):
        peaks = {k: float((sign * a[first[k] :]).max()) for k, a in acts.items()}
        assert {a.dataIndex for a in shown} == {k for k, v in peaks.items() if v > 0}
        strengths = [peaks[a.dataIndex] for a in shown]
        assert strengths == sorted(strengths, reverse=True)
        for a in shown:
            assert a.dataSource == "prompts" and a.values == pytest.approx(acts[a.dataIndex].tolist())
            assert sign * a.neuron_signatures.act == pytest.approx(peaks[a.dataIndex])
            assert a.neuron_signatures.act == a.values[a.neuron_signatures.pos]
    assert page.neuron_signatures.moments is None and page.frac_nonzero is None
    assert page.freq_hist_data_bar_heights == []


def test_what_a_neuron_writes_is_in_the_page(client, root):
    record = json.loads(next((root / "demo" / "analysis").glob("*_write_scores.json")).read_text())
    at = NeuronAt(record["neurons"][0]["layer"], record["neurons"][0]["neuron"])
    wanted = write_scores_of(root / "demo", at)[0]
    page = page_of(client, f"demo/neurons/{at.layer}/{at.neuron}?texts=0")
    assert page.pos_str == [w.token for w in wanted.promotes] and page.pos_values == [w.score for w in wanted.promotes]
    assert page.neg_str == [w.token for w in wanted.suppresses]
    assert page.neg_values == sorted(page.neg_values) and page.pos_values == sorted(page.pos_values, reverse=True)
    assert page.neuron_signatures.writes is not None and page.neuron_signatures.writes.source == wanted.source
    assert page.activations == []


def test_infinite_activations_and_hostile_tokens_are_strict_json(tmp_path):
    prompts = {"first": HOSTILE}
    acts = random_acts(prompts, n_layers=1, d_mlp=3, seed=1)
    acts["first"][0, 1, 0], acts["first"][0, 2, 0] = math.inf, math.nan
    make_run(tmp_path / "run", prompts, acts)
    with served(runs_root=tmp_path) as client:
        page = page_of(client, "run/neurons/0/0")
    both = (*page.activations, *page.neuron_signatures.negative.activations)
    assert both and all(a.tokens == HOSTILE and a.values[1:3] == [None, None] for a in both)


def test_imported_records_have_only_texts(tmp_path):
    records_of(tmp_path / "run", ["the| cat=3| sat", "a| dog=2"], ["x| y=1| z"]).close()
    with served(runs_root=tmp_path) as client:
        page = page_of(client, "run/neurons/0/0")
    assert [(a.tokens, a.values) for a in page.activations] == [
        (["the", " cat", " sat"], [0.0, 3.0, 0.0]),
        (["a", " dog"], [0.0, 2.0]),
    ]
    assert [(a.maxValue, a.maxValueTokenIndex, a.minValue) for a in page.activations] == [(3, 1, 0), (2, 1, 0)]
    assert page.neuron_signatures.moments is None and page.frac_nonzero == pytest.approx(1 / 3)


def test_a_hook_name_is_only_text(tmp_path):
    write_v1(tmp_path / "run", hook_name="{x}{0}{layer}")
    with served(runs_root=tmp_path) as client:
        assert page_of(client, "run/neurons/2/0").hookName == "{x}{0}2"


def test_a_lone_surrogate_is_an_escape(tmp_path):
    path = write_v1(tmp_path / "run") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["model_name"] = manifest["prompts"][0]["text"] = HALF
    manifest["prompts"][0]["tokens_ascii"] = [HALF] * 4
    path.write_text(json.dumps(manifest))
    shown = HALF.replace("\udfff", "\\udfff")
    with served(runs_root=tmp_path) as client:
        facts = RunFacts.model_validate(client.get("/v1/runs/run").json())
        page = page_of(client, "run/neurons/0/0")
    assert (facts.model_name, facts.prompts[0].text, page.modelId) == (shown, shown, shown)
    both = (*page.activations, *page.neuron_signatures.negative.activations)
    assert [shown] * 4 in [a.tokens for a in both]


@pytest.mark.parametrize("place", ["99/0", "0/12", "0/2147483647"])
def test_a_neuron_that_the_model_does_not_have_is_not_found(client, place):
    assert "there is no" in problem_of(client.get(f"/v1/runs/scored/neurons/{place}"), 404, "not_found")


@pytest.mark.parametrize("path", ["-1/0", "0/-1", "0/x", "0/9999999999", "1e2/0", "0/0?texts=101", "0/0?texts=-1"])
def test_a_neuron_that_is_no_number_is_refused(client, path):
    problem_of(client.get(f"/v1/runs/scored/neurons/{path}"), 422, "invalid_request")


# --- explanations


def test_pages_of_explanations_are_all_of_them(client, root):
    every = listed(client, "?limit=1000")
    rows = Explanations.open(root / "scored").rows()
    assert every.total == len(rows) == len(every.explanations)
    assert [e.id for e in every.explanations] == [r.id for r in rows]
    parts = [listed(client, f"?limit=7&offset={i}") for i in range(0, len(rows) + 7, 7)]
    assert [e for p in parts for e in p.explanations] == list(every.explanations)
    assert all(p.total == len(rows) for p in parts) and parts[-1].explanations == []


def test_explanations_are_filtered(client):
    by_set = listed(client, "?set=intervals")
    assert {e.set for e in by_set.explanations} == {"intervals"} and by_set.total == 8
    by_layer = listed(client, "?set=intervals&layer=1")
    assert {e.layer for e in by_layer.explanations} == {1} and by_layer.total == 4
    by_words = listed(client, "?words=THEME%201%203")
    assert [(e.layer, e.neuron) for e in by_words.explanations] == [(1, 3)]
    assert {(e.layer, e.neuron) for e in listed(client, "?words=L1N2").explanations} == {(1, 2)}
    assert all(e.current for e in listed(client, "?current=true").explanations)
    assert not any(e.current for e in listed(client, "?current=false").explanations)


@pytest.mark.parametrize("words", ["", "theme", "THEME 1", "L1 theme", "l0n2+", "L1N3- x", "theme L0N2", "\u0130", " "])
@pytest.mark.parametrize("layer", [None, 0, 1, 7])
@pytest.mark.parametrize(
    "more", [{}, {"set": "intervals"}, {"current": True}, {"set": "highlighted", "current": False}]
)
def test_the_filters_are_those_of_the_reader(client, root, words, layer, more):
    rows = Explanations.open(root / "scored").search(words, **more)
    wanted = [r.id for r in rows if layer in (None, r.at.layer)]
    params = {"limit": 1000, "words": words, **more} | ({} if layer is None else {"layer": layer})
    found = ExplanationList.model_validate(client.get("/v1/runs/scored/explanations", params=params).json())
    assert [e.id for e in found.explanations] == wanted and found.total == len(wanted)


def test_words_that_nothing_has_find_nothing(client):
    assert listed(client, "?words=nothing-says-this").total == 0


def test_explanations_have_the_first_score_of_each_scorer(client, root):
    rows = Scores.open(root / "scored").table()
    for e in listed(client, "?limit=1000").explanations:
        mine = rows[(rows["explanation_id"] == e.id) & (rows["split"] == "report")]
        assert {(s.scorer, s.score) for s in e.scores} == {
            (r.scorer, r.score) for r in mine.drop_duplicates(["set", "scorer", "scorer_model"]).itertuples()
        }
        for s in e.scores:
            row = mine[(mine["scorer"] == s.scorer) & (mine["score"] == s.score)].iloc[0]
            assert s.value == (None if math.isnan(row["value"]) else row["value"])


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "layer=x", "limit=1e9", f"words={'x' * 1001}"])
def test_a_query_out_of_bounds_is_refused(client, query):
    problem_of(client.get(f"/v1/runs/scored/explanations?{query}"), 422, "invalid_request")


@pytest.mark.parametrize(("path", "step"), [
    ("/scored/explanations?word=capital", "It has words, set, layer, current, limit, offset"),
    ("?words=x", "It has limit, offset"), ("/scored?texts=3", "Leave it out"),
])  # fmt: skip
def test_an_unknown_parameter_is_refused(client, path, step):
    answer = client.get(f"/v1/runs{path}")
    assert "this path has no such parameter" in problem_of(answer, 422, "invalid_request")
    assert answer.json()["next_step"] == step


def test_an_unknown_set_is_not_found(client):
    assert "intervals" in problem_of(client.get("/v1/runs/scored/explanations?set=none"), 404, "not_found")


def test_a_run_without_explanations_has_an_empty_list(client):
    assert listed(client, run="demo") == ExplanationList(total=0, offset=0, explanations=[])


# --- confinement


@pytest.mark.parametrize(
    "name", ["nothing", "..", ".", "../demo", "../../etc", "/etc", "a\0b", "..\\demo", "C:\\x", "link", "loop",
             "demo/..", "x" * 300, "file", " ", "%2e%2e"],
)  # fmt: skip
@pytest.mark.parametrize("below", ["", "/neurons/0/0", "/explanations"])
def test_no_name_leads_out_of_the_root(tmp_path, name, below):
    root = tmp_path / "runs"
    shutil.copytree(DEMO_RUN, root / "demo")
    shutil.copytree(DEMO_RUN, tmp_path / "secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "file").write_text("")
    with served(runs_root=root) as client:
        answer = client.get(f"/v1/runs/{quote(name, safe='').replace('.', '%2E')}{below}")
        assert answer.status_code == 404, answer.text
        assert str(tmp_path) not in answer.text
        assert "link" not in client.get("/v1/runs").text


# --- damage


def damage(path) -> None:
    """Put another file in its place: half of it, or for a log all of it after a wrong line."""
    raw = path.read_bytes()
    new = path.with_name("new")
    new.write_bytes(b'{"no": "entry"}\n' + raw if path.suffix == ".jsonl" else raw[: len(raw) // 2])
    new.replace(path)


@pytest.mark.parametrize(
    ("file", "below"),
    [
        ("manifest.json", ""),
        ("manifest.json", "/neurons/0/0"),
        ("records/records_meta.json", "/neurons/0/0"),
        ("records/strongest.safetensors", "/neurons/0/0"),
        ("explanations/highlighted.jsonl", "/neurons/0/0"),
        ("explanations/highlighted.jsonl", "/explanations"),
        ("scores/lookup__rule.parquet", "/neurons/0/0"),
        ("scores/lookup__rule_meta.json", "/explanations"),
    ],
)
def test_a_damaged_run_is_a_conflict_with_the_readers_line(root, tmp_path, file, below):
    shutil.copytree(root / "scored", tmp_path / "run")
    with served(runs_root=tmp_path) as client:
        whole = client.get(f"/v1/runs/run{below}")
        assert whole.status_code == 200
        damage(tmp_path / "run" / file)
        detail = problem_of(client.get(f"/v1/runs/run{below}"), 409, "damaged_run")
        assert detail.startswith(f"run/{file}"), detail
        assert str(tmp_path) not in detail
        assert client.get("/v1/health").status_code == 200


def test_missing_activations_are_a_problem_of_the_run(tmp_path):
    shutil.copytree(DEMO_RUN, tmp_path / "run")
    (tmp_path / "run" / "activations.safetensors").unlink()
    with served(runs_root=tmp_path) as client:
        facts = RunFacts.model_validate(client.get("/v1/runs/run").json())
        assert len(facts.problems) == 1 and "activations.safetensors" in facts.problems[0]
        assert str(tmp_path) not in facts.problems[0]
        problem_of(client.get("/v1/runs/run/neurons/3/508"), 409, "damaged_run")


# --- runs that change while they are served


def test_a_run_that_is_replaced_is_read_anew(tmp_path):
    def write(seed: int):
        prompts = {"first": ["<bos>", " a", " b"]}
        new = tmp_path / f"new{seed}"
        make_run(new, prompts, random_acts(prompts, n_layers=1, d_mlp=3, seed=seed))
        shutil.rmtree(tmp_path / "runs" / "run", ignore_errors=True)
        os.renames(new, tmp_path / "runs" / "run")
        with Run.open(tmp_path / "runs" / "run") as run:
            return run.acts("first", layer=0, neuron=1).tolist()

    for_seed = write(1)
    with served(runs_root=tmp_path / "runs") as client:
        for seed in (2, 3):
            page = page_of(client, "run/neurons/0/1")
            both = (*page.activations, *page.neuron_signatures.negative.activations)
            assert both and all(a.values == pytest.approx(for_seed) for a in both)
            for_seed = write(seed)
        shutil.rmtree(tmp_path / "runs" / "run")
        problem_of(client.get("/v1/runs/run/neurons/0/1"), 404, "not_found")


def test_appended_explanations_are_seen(root, tmp_path):
    shutil.copytree(root / "scored", tmp_path / "run")
    with served(runs_root=tmp_path) as client:
        before = listed(client, "?set=contrastive", run="run")
        log = tmp_path / "run" / "explanations" / "contrastive.jsonl"
        entry = json.loads(log.read_text().splitlines()[-1]) | {"id": "0123456789abcdef", "text": "a new one"}
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        after = listed(client, "?set=contrastive", run="run")
    assert after.total == before.total + 1
    assert "a new one" in {e.text for e in after.explanations}


def test_more_runs_than_are_kept_open_are_served(tmp_path):
    for i in range(7):
        shutil.copytree(DEMO_RUN, tmp_path / f"run{i}")
    with served(runs_root=tmp_path) as client:
        for _ in range(2):
            assert all(client.get(f"/v1/runs/run{i}/neurons/0/0").status_code == 200 for i in range(7))
        kept = client.app.state.open_runs
        assert len(kept._opened) <= 5
