"""Stage 6 end to end on synthetic records: what is scored against what, and what its files say."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pandas as pd
import pytest
from explanation_runs import Log
from misbehaving_server import MODEL, MisbehavingServer
from score_runs import write_set
from score_stage import (
    CHOSEN,
    JUDGED,
    WORDS,
    assert_same_scores,
    judge,
    lines,
    make_run,
    score,
    table,
    verdicts,
    words,
)

from neuron_signatures import __main__ as console
from neuron_signatures import poc6_score_explanations
from neuron_signatures.runs import __main__ as runs_program
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.explanations.people import edit, lock
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.meta import read_meta
from neuron_signatures.runs.scores.reader import Scores

RULE = f"{WORDS}__rule"
HEADLINE = "correlation/uniform"


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="module")
def scored_run(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = copytree(made_run, tmp_path_factory.mktemp("scored") / "run")
    assert score(run_dir) == 0
    return run_dir


@pytest.fixture
def run_dir(made_run: Path, tmp_path: Path) -> Path:
    return copytree(made_run, tmp_path / "run")


def test_every_explanation_has_its_controls_and_draws_of_its_layer(scored_run: Path) -> None:
    found = lines(scored_run, RULE)
    own = [key for key in found if key.control == "own" and found[key].status == "ok"]
    assert len(own) == 10
    for key in own:
        beside = [k for k in found if k.at == key.at]
        single = [k.control for k in beside if k.control not in ("own", "other")]
        assert sorted(single) == ["ceiling", "constant", "empty", "lookup", "shuffled", "text"]
        assert all(k.explanation == key.explanation for k in beside if k.control != "other")
        others = [found[k] for k in beside if k.control == "other"]
        n_others = sum(k.at.layer == key.at.layer and k.at.neuron != key.at.neuron for k in own)
        assert len(others) == min(5, n_others) == len({o.explanation for o in others})
        assert all(o.other.startswith(f"L{key.at.layer}N") and o.other[:-1] != key.at.label[:-1] for o in others)
    assert runs_program.main(["verify", str(scored_run)]) == 0


def test_a_failed_explanation_is_a_row_with_its_status(scored_run: Path) -> None:
    row = next(row for row in Scores.open(scored_run).of(1, 6, "+"))
    assert (row.status, row.score, row.value, row.coverage) == ("refused", "", None, None)
    assert read_meta(scored_run, RULE).counts == {"ok": 10, "refused": 1}


def test_stored_predictions_lie_over_the_activations(scored_run: Path) -> None:
    with Records.open(scored_run) as records:
        for key, line in lines(scored_run, RULE).items():
            assert bool(line.windows) == (key.control == "own" and line.status == "ok")
            for window in line.windows:
                assert records.corpus.part_of(window.window) == "report"
                assert window.values is not None
                assert len(window.values) == len(records.corpus.token_ids(window.window))


def test_the_constant_is_undefined_and_the_ceiling_is_the_best(scored_run: Path) -> None:
    frame = table(scored_run, RULE)
    defined = frame[(frame["score"] == HEADLINE) & frame["value"].notna()]
    assert len(defined) > 3 and defined["constant"].isna().all() and defined["empty"].isna().all()
    assert (defined["ceiling"] >= defined["value"] - 1e-9).all() and (defined["ceiling"] > 0.8).all()
    assert np.allclose(defined["lift"], defined["value"] - defined["null_best"])


def test_two_runs_are_equal_and_a_second_command_does_nothing(scored_run: Path, run_dir: Path) -> None:
    assert score(run_dir) == 0
    assert_same_scores(scored_run, run_dir, RULE)
    before = {p.name: p.read_bytes() for p in (run_dir / "scores").iterdir()}
    assert score(run_dir) == 0
    assert before == {p.name: p.read_bytes() for p in (run_dir / "scores").iterdir()}


def test_a_set_in_two_steps_is_that_of_one(scored_run: Path, run_dir: Path) -> None:
    assert score(run_dir, "--neurons", "L0N1,L1N2") == 0
    assert read_meta(run_dir, RULE).n_poles == 2
    assert score(run_dir, "--limit", "3") == 0
    assert not (run_dir / f"scores/{RULE}_meta.json").exists()
    assert score(run_dir) == 0
    assert_same_scores(scored_run, run_dir, RULE)


def test_controls_can_be_chosen_and_added(scored_run: Path, run_dir: Path) -> None:
    assert score(run_dir, "--controls", "own") == 0
    assert table(run_dir, RULE)["null_best"].isna().all()
    assert score(run_dir) == 0
    assert_same_scores(scored_run, run_dir, RULE)


def test_draws_of_the_null_stay_when_the_set_grows(run_dir: Path) -> None:
    log = words("grows")
    first, rest = log.entries[:5], log.entries[5:]
    log.entries = first
    write_set(run_dir, log)
    assert score(run_dir, "--sets", "grows", "--n_null", "3") == 0
    before = lines(run_dir, "grows__rule")
    from neuron_signatures.runs.explanations.log import ExplanationLog

    with ExplanationLog(run_dir, "grows") as into:
        for entry in rest:
            into.append(entry)
    assert score(run_dir, "--sets", "grows", "--n_null", "3") == 0
    after = lines(run_dir, "grows__rule")
    of_first = {key.at for key in before}
    assert {key for key in after if key.at in of_first} == set(before)
    assert len(after) > len(before)


def test_draws_of_the_null_are_added(run_dir: Path) -> None:
    write_set(run_dir, words("more"))
    assert score(run_dir, "--sets", "more", "--n_null", "1") == 0
    few = lines(run_dir, "more__rule")
    assert score(run_dir, "--sets", "more", "--n_null", "3") == 0
    many = lines(run_dir, "more__rule")
    assert set(few) < set(many) and {key.control for key in set(many) - set(few)} == {"other"}
    write_set(run_dir, words("at_once"))
    assert score(run_dir, "--sets", "at_once", "--n_null", "3") == 0
    both = [table(run_dir, f"{name}__rule").drop(columns=["explanation_id", "set"]) for name in ("more", "at_once")]
    pd.testing.assert_frame_equal(*both)


def test_every_mode_is_scored_and_an_edit_is_scored_anew(run_dir: Path) -> None:
    log = Log("modes")
    for mode, text in enumerate(("Austin, a city", "Denver, a city")):
        log.explain("L0N0+", text, mode=mode, mode_share=0.5)
    log.explain("L0N1+", "cities such as Boston")
    write_set(run_dir, log)
    assert score(run_dir, "--sets", "modes") == 0
    frame = table(run_dir, "modes__rule")
    assert frame[frame["neuron"] == 0]["explanation_id"].nunique() == 2 and frame["current"].all()
    edit(run_dir, NeuronPole(0, 1, "+"), "Boston or Denver", "a person", set_name="modes")
    assert score(run_dir, "--sets", "modes") == 0
    frame = table(run_dir, "modes__rule")
    edited = frame[(frame["neuron"] == 1) & (frame["score"] == HEADLINE)]
    assert sorted(edited["current"]) == [False, True]
    assert edited[edited["current"]]["explainer"].tolist() == ["human"]


def test_a_lock_on_an_earlier_text_makes_it_current_in_finished_scores(run_dir: Path) -> None:
    log = Log("locks")
    first = log.explain("L0N1+", "cities such as Boston")
    write_set(run_dir, log)
    assert score(run_dir, "--sets", "locks") == 0
    edited = edit(run_dir, NeuronPole(0, 1, "+"), "Denver", "a person", set_name="locks").id
    assert score(run_dir, "--sets", "locks") == 0
    frame = table(run_dir, "locks__rule")
    assert set(frame[frame["current"]]["explanation_id"]) == {edited}
    lock(run_dir, first, "another person", set_name="locks")
    frame = table(run_dir, "locks__rule")
    assert set(frame[frame["current"]]["explanation_id"]) == {first}
    assert set(frame["explanation_id"]) == {first, edited}


@pytest.mark.parametrize("damaged", ["parquet", "meta"])
def test_a_damaged_result_is_made_again_from_the_log(run_dir: Path, scored_run: Path, damaged: str) -> None:
    assert score(run_dir) == 0
    name = f"{RULE}.parquet" if damaged == "parquet" else f"{RULE}_meta.json"
    (run_dir / "scores" / name).write_bytes(b"{")
    log_before = (run_dir / f"scores/{RULE}.jsonl").read_bytes()
    assert score(run_dir) == 0
    assert (run_dir / f"scores/{RULE}.jsonl").read_bytes() == log_before
    assert_same_scores(run_dir, scored_run, RULE)
    (run_dir / "scores" / name).unlink()
    assert score(run_dir) == 0
    assert_same_scores(run_dir, scored_run, RULE)
    assert runs_program.main(["verify", str(run_dir)]) == 0


def test_a_judge_is_asked_and_its_answers_are_stored(run_dir: Path) -> None:
    with MisbehavingServer(verdicts) as server:
        assert judge(run_dir, server.base_url) == 0
        n = len(server.requests)
        assert judge(run_dir, server.base_url) == 0
        assert n == len(server.requests) > 100
    frame = table(run_dir, JUDGED)
    scored = frame[frame["value"].notna()]
    assert set(scored["coverage"]) == {1.0} and set(scored["scorer_model"]) == {MODEL}
    own = next(line for key, line in lines(run_dir, JUDGED).items() if key.control == "own" and line.requests)
    assert own.examples and own.answered_by == MODEL and own.prompt_tokens == 100 * len(own.requests)
    ledger = json.loads((run_dir / "llm/ledger.json").read_text())
    assert "score" in json.dumps(ledger)


def test_the_forecast_of_requests_is_what_is_sent(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MisbehavingServer(verdicts) as server:
        assert judge(run_dir, server.base_url, "--dry_run", "--json") == 0
        (found,) = json.loads(capsys.readouterr().out)["logs"]
        assert not server.requests and not (run_dir / "scores").exists() and not (run_dir / "llm").exists()
        assert judge(run_dir, server.base_url) == 0
        assert len(server.requests) <= found["requests"] <= len(server.requests) * 1.1


def test_values_on_select_are_named_and_are_no_scores(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run_dir, "--part", "select") == 0
    out = capsys.readouterr().out
    assert "for choosing" in out and (run_dir / f"scores/{RULE}-select.parquet").exists()
    assert set(table(run_dir, f"{RULE}-select")["split"]) == {"select"}
    for flags in (("summary", "--name", f"{RULE}-select"), ("compare", "--a", WORDS, "--b", WORDS)):
        assert poc6_score_explanations.main([flags[0], "--run_dir", str(run_dir), *flags[1:]]) == 2
    assert "no scores" in capsys.readouterr().err
    assert score(run_dir) == 0
    assert poc6_score_explanations.main(["summary", "--run_dir", str(run_dir)]) == 0
    assert poc6_score_explanations.main(["summary", "--run_dir", str(run_dir), "--name", f"{RULE}-select"]) == 2


def test_summary_and_compare_print_tables(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = words("other")
    other.entries = [e.model_copy(update={"text": f"{e.text} and Ohio" if e.text else ""}) for e in other.entries]
    write_set(run_dir, other)
    assert score(run_dir) == 0
    capsys.readouterr()
    at = ["--run_dir", str(run_dir)]
    assert poc6_score_explanations.main(["summary", *at, "--by", "layer", "--by", "pole", "--sets", "other"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:3] == ["set", "scorer", "score"] and "layer 0, pole +" in out[1]
    assert poc6_score_explanations.main(["compare", *at, "--a", "words", "--b", "other", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["scorer"] for row in rows} == {"rule"} and rows[0]["difference"] is not None
    assert console.main(["score", "summary", *at]) == 0


def test_sixty_examples_are_for_simulators(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--sampling", "sixty", "--scorers", "rule,detection", "--llm", "openai:gpt-4.1")
    assert score(run_dir, *flags) == ExitCode.USAGE
    assert "the scorer detection predicts no activations of sixty examples" in capsys.readouterr().err


def test_sixty_examples_have_files_of_their_own(run_dir: Path) -> None:
    assert score(run_dir) == 0 and score(run_dir, "--sampling", "sixty") == 0
    assert set(table(run_dir, f"{RULE}-sixty")["score"]) >= {"ev_correlation/sixty"}
    assert score(run_dir, "--n_top", "6", "--label", "six") == 0
    assert f"{RULE}-six" in Scores.open(run_dir).names


class TestRefusals:
    @pytest.mark.parametrize(
        ("flags", "what"),
        [
            (("--n_top", "7"), "n_top was 5, is 7"),
            (("--sets", "nothing"), "there is no set 'nothing'"),
            (("--scorers", "rules"), "did you mean rule"),
            (("--scorers", "json"), "asks a language model"),
            (("--llm", "openai:x"), "asks no language model"),
            (("--max_requests", "3"), "--max_requests is for a language model"),
            (("--scorers", "rule", "--embedding_device", "cpu"), "--embedding_device is for the scorer embedding"),
            (("--subject_dtype", "fp32"), "--subject_dtype is for scorers that run the model of the run"),
            (("--scorers", "rule", "--trust_remote_code"), "--trust_remote_code is for scorers that run the model"),
            (("--neurons", "L0N5"), "are not stored"),
            (("--neurons", "L0N2-", "--sets", "words", "--poles", "-", "--top_k", "4"), "--top_k"),
            (("--label", "a/b"), "no label"),
            (("--controls", "none"), "none of own"),
        ],
    )
    def test_flags_that_cannot_be_met(
        self, run_dir: Path, flags: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if "--n_top" in flags:
            assert score(run_dir) == 0
        assert score(run_dir, *flags) == 2
        err = capsys.readouterr().err
        assert what in err and err.count("\n") == 1

    def test_a_run_without_explanations_or_records(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from record_runs import make_record_run

        run_dir = make_record_run(tmp_path / "run", chosen=CHOSEN)
        assert score(run_dir) == 2
        assert "the run has no explanations" in capsys.readouterr().err
        write_set(run_dir, words())
        rmtree(run_dir / "records")
        assert score(run_dir) == 2
        assert "poc4_extract_records" in capsys.readouterr().err
        assert poc6_score_explanations.main(["summary", "--run_dir", str(run_dir)]) == 2
        assert "the run has no scores" in capsys.readouterr().err

    def test_a_set_without_explanations_of_these_neurons(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert score(run_dir, "--sets", WORDS, "--neurons", "L1N6+") == 2
        assert "no explanation with the status ok" in capsys.readouterr().err

    def test_a_set_of_another_corpus(self, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        settings = run_dir / f"explanations/{WORDS}_settings.json"
        record = json.loads(settings.read_text())
        record["settings"]["corpus"] = "0" * 64
        settings.write_text(json.dumps(record))
        assert score(run_dir) == 2
        assert "another corpus" in capsys.readouterr().err

    def test_an_unfinished_set_is_left_out_unless_it_is_named(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_set(run_dir, words("later"), finished=False)
        assert score(run_dir) == 0
        assert "the set later is not finished" in capsys.readouterr().err
        assert "later__rule" not in Scores.open(run_dir).names
        assert score(run_dir, "--sets", "later") == 0
        assert "later__rule" in Scores.open(run_dir).names

    def test_a_missing_embedding_model_says_what_to_do(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from neuron_signatures.runs.errors import EnvironmentProblem

        def nothing(*_: object, **__: object) -> object:
            raise EnvironmentProblem("no model here", next_step="download it")

        monkeypatch.setattr("neuron_signatures.models.embedding.load_embedder", nothing)
        assert score(run_dir, "--scorers", "embedding") == 1
        assert "--scorers rule" in capsys.readouterr().err
