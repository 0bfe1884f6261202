"""Logs of scores, their tables and their reader: what is stored is what is read, finished or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from score_runs import HEADLINE, about, line, make_scored_run, value, write_score_log

from neuron_signatures.runs import __main__ as runs_program
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.log import ScoreLog
from neuron_signatures.runs.scores.meta import read_meta
from neuron_signatures.runs.scores.overview import summarise_scores
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.runs.scores.stage import begin_scores, finish_scores

A, B, C = (NeuronPole(0, n, "+") for n in range(3))
ONE, TWO, THREE = ("1" * 16, "2" * 16, "3" * 16)
NAME = "words__rule"


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scored_run(tmp_path_factory.mktemp("scored") / "run")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_scored_run(tmp_path / "run")


def own(at: NeuronPole, id_: str, v: float | None, **more: object):
    return line(at, id_, {HEADLINE: v}, **more)


def drawn(at: NeuronPole, id_: str, v: float | None, undefined: str = ""):
    scores = {HEADLINE: value(v, undefined=undefined)}
    return line(at, id_, scores, control="other", other="L0N9+")


def only(run_dir: Path, name: str = NAME) -> pd.DataFrame:
    return Scores.open(run_dir).table(name)


def test_the_null_of_a_layer_needs_ten_defined_draws(run_dir: Path) -> None:
    values = np.linspace(-0.2, 0.25, 10)
    far = NeuronPole(1, 0, "+")
    lines = [own(A, ONE, 0.3), own(far, TWO, 0.3)]
    lines += [drawn(NeuronPole(0, n, "+"), f"{n:016x}", float(v)) for n, v in enumerate(values)]
    lines += [drawn(far, THREE, 0.5)]
    write_score_log(run_dir, about("words", "rule"), lines)
    rows = {row.layer: row for row in only(run_dir).itertuples()}
    assert rows[0].null_from == "layer" and rows[0].null_n == 10
    assert rows[0].null_best == pytest.approx(values.mean()) and rows[0].null_sd == pytest.approx(values.std(ddof=1))
    assert rows[0].lift == pytest.approx(0.3 - values.mean()) and rows[0].null_p == pytest.approx(1 / 11)
    everything = [*values, 0.5]
    assert rows[1].null_from == "all layers" and rows[1].null_n == 11
    assert rows[1].null_best == pytest.approx(np.mean(everything)) and rows[1].null_p == pytest.approx(2 / 12)


def test_draws_without_a_prediction_are_worse_and_draws_without_evidence_are_none(run_dir: Path) -> None:
    lines = [own(A, ONE, 0.3), drawn(A, TWO, 0.3), drawn(B, TWO, None, "not_simulated")]
    lines += [drawn(C, ONE, None, reason) for reason in ("too_few_examples",)]
    write_score_log(run_dir, about("words", "rule"), lines)
    row = only(run_dir).iloc[0]
    assert row.null_n == 2 and row.null_best == pytest.approx(0.3) and row.null_p == pytest.approx(2 / 3)


def test_controls_are_columns_and_failures_are_rows_without_values(shared_run: Path) -> None:
    frame = only(shared_run, "highlighted__embedding")
    first = frame.iloc[0]
    assert (first.shuffled, first.ceiling, first["lookup"]) == (0.4, 0.98, 0.7) and np.isnan(first["empty"])
    failed = frame[frame["status"] != "ok"]
    assert set(failed["status"]) == {"refused", "timed_out"} and failed["value"].isna().all()
    assert (failed["score"] == "").all() and failed["current"].all()
    undefined = frame[frame["undefined"] != ""].iloc[0]
    assert undefined.undefined == "constant_prediction" and np.isnan(undefined.value) and np.isnan(undefined.lift)


def test_explainers_are_those_of_the_explanations(shared_run: Path) -> None:
    rows = {row.at.label: row for row in Scores.open(shared_run).of(0, 1) if row.set == "highlighted"}
    assert rows["L0N1+"].explainer == "human" and rows["L0N1+"].explainer_model is None
    assert {row.explainer_model for row in Scores.open(shared_run).of(0, 0)} >= {"some-model"}


def test_coverage_is_the_share_of_valid_answers(shared_run: Path) -> None:
    frame = only(shared_run, "highlighted__detection-some-model")
    assert frame[frame["status"] == "ok"]["coverage"].tolist() == [1.0, 0.5, 1.0]
    assert frame[frame["status"] != "ok"]["coverage"].tolist() == [0.0]


def test_a_finished_table_is_what_the_log_gives(shared_run: Path, tmp_path: Path) -> None:
    scores = Scores.open(shared_run)
    for info in scores.sets:
        if info.finished:
            again = tmp_path / info.name
            again.mkdir()
            finished = scores.table(info.name)
            (shared_run / "scores" / f"{info.name}_meta.json").rename(again / "meta")
            try:
                unfinished = Scores.open(shared_run)
                assert not next(s for s in unfinished.sets if s.name == info.name).finished
                pd.testing.assert_frame_equal(finished, unfinished.table(info.name), check_exact=True)
            finally:
                (again / "meta").rename(shared_run / "scores" / f"{info.name}_meta.json")


def test_rows_and_lines_of_a_neuron(shared_run: Path) -> None:
    scores = Scores.open(shared_run)
    rows = scores.of(0, 0, "+")
    assert {row.scorer for row in rows} == {"embedding", "detection", "rule"} and {row.pole for row in rows} == {"+"}
    row = next(r for r in rows if r.scorer == "embedding" and r.score == HEADLINE and r.set == "highlighted")
    found = scores.own_line("highlighted__embedding", row.explanation_id)
    assert found is not None and found.scores[HEADLINE].value == row.value
    assert [w.status for w in found.windows] == ["ok", "ok", "ok", "refused"] and found.windows[3].values is None
    assert len(found.mistakes) == 2
    assert scores.own_line("highlighted__embedding", "f" * 16) is None
    assert {one.control for one in scores.controls("highlighted__embedding", row.at, "other")} == {"other"}
    null = scores.null_values("intervals__embedding", HEADLINE, layer=0)
    assert null == sorted(null) and len(null) >= 10
    assert len(scores.null_values("intervals__embedding", HEADLINE)) > len(null)
    with pytest.raises(UsageError, match="no scores 'x'"):
        scores.table("x")


def test_what_is_appended_is_seen_after_a_refresh(run_dir: Path) -> None:
    scores = Scores.open(run_dir)
    n = len(scores.table("contrastive__rule"))
    assert not scores.refresh()
    with ScoreLog(run_dir, "contrastive__rule") as log:
        log.append(own(A, ONE, 0.1))
    assert scores.refresh() and len(scores.table("contrastive__rule")) == n + 1
    assert scores.of(0, 0, "+")[0].set == "contrastive"
    write_score_log(run_dir, about("words", "rule"), [own(A, ONE, 0.1)])
    assert scores.refresh() and NAME in scores.names


def test_the_newest_line_of_a_key_counts(run_dir: Path) -> None:
    write_score_log(run_dir, about("words", "rule"), [own(A, ONE, 0.1), own(B, TWO, 0.5), own(A, ONE, 0.2)])
    assert only(run_dir)["value"].tolist() == [0.2, 0.5]
    assert read_meta(run_dir, NAME).n_lines == 2


def test_appending_to_finished_scores_makes_them_unfinished(run_dir: Path) -> None:
    name = write_score_log(run_dir, about("words", "rule"), [own(A, ONE, 0.1)])
    with ScoreLog(run_dir, name):
        pass
    assert (run_dir / "scores" / f"{name}_meta.json").exists()
    with ScoreLog(run_dir, name) as log:
        log.append(own(B, TWO, 0.2))
    assert not (run_dir / "scores" / f"{name}_meta.json").exists()
    assert not (run_dir / "scores" / f"{name}.parquet").exists()
    assert len(only(run_dir)) == 2


def test_other_settings_are_refused_with_the_differences(run_dir: Path) -> None:
    write_score_log(run_dir, about("words", "rule", n_top=5), [own(A, ONE, 0.1)])
    with Run.open(run_dir) as run, pytest.raises(UsageError, match="n_top was 5, is 6"):
        begin_scores(run, about("words", "rule", n_top=6))


class TestDamage:
    def test_a_torn_last_line_is_ignored_and_removed_by_the_next_writer(self, run_dir: Path) -> None:
        log = run_dir / "scores/contrastive__rule.jsonl"
        size = log.stat().st_size
        with log.open("ab") as f:
            f.write(b'{"explanation": "12')
        assert len(Scores.open(run_dir).table("contrastive__rule")) == 2
        assert runs_program.main(["verify", str(run_dir)]) == 0
        with ScoreLog(run_dir, "contrastive__rule"):
            pass
        assert log.stat().st_size == size

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda raw: raw.replace(b'"status":"ok"', b'"status":"fine"', 1), "line 1: field status"),
            (lambda raw: b"nonsense\n" + raw, "line 1"),
            (lambda raw: raw.replace(b'"value":0.2', b'"value":NaN', 1), "line 1"),
        ],
    )
    def test_another_line_is_named(self, run_dir: Path, change, what: str) -> None:
        log = run_dir / "scores/contrastive__rule.jsonl"
        log.write_bytes(change(log.read_bytes()))
        with pytest.raises(BadRunError, match=what) as error:
            Scores.open(run_dir).table("contrastive__rule")
        assert "contrastive__rule.jsonl" in error.value.line()
        assert runs_program.main(["verify", str(run_dir)]) == 3

    def test_changed_lines_of_finished_scores_are_found(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = run_dir / "scores/lookup__rule.jsonl"
        log.write_bytes(log.read_bytes().replace(b'"value":0.9', b'"value":1.0', 1))
        assert runs_program.main(["verify", str(run_dir)]) == 3
        assert "lines have changed" in capsys.readouterr().out

    def test_a_missing_log_and_missing_settings_are_named(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run_dir / "scores/lookup__rule.jsonl").unlink()
        assert runs_program.main(["verify", str(run_dir)]) == 3
        assert "is missing, its record" in capsys.readouterr().out
        (run_dir / "scores/contrastive__rule_settings.json").unlink()
        with pytest.raises(BadRunError, match="its settings are missing"):
            Scores.open(run_dir)

    def test_a_link_out_of_the_run_is_refused(self, run_dir: Path, tmp_path: Path) -> None:
        log = run_dir / "scores/contrastive__rule.jsonl"
        log.rename(tmp_path / "elsewhere")
        log.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadRunError, match="leads out"):
            Scores.open(run_dir).table("contrastive__rule")


def test_a_listing_says_what_was_scored(shared_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = summarise_scores(shared_run)
    assert found is not None and found.n_unfinished == 1 and found.n_select == 1
    assert runs_program.main(["show", str(shared_run)]) == 0
    assert "explanations scored (detection, embedding, rule)" in capsys.readouterr().out
    assert summarise_scores(shared_run.parent) is None


def test_a_run_without_scores(tmp_path: Path) -> None:
    assert not Scores.exist(tmp_path) and not Scores.open(tmp_path).sets
    assert Scores.open(tmp_path).table().empty and Scores.open(tmp_path).of(0, 0) == []


def test_the_record_is_sealed(run_dir: Path) -> None:
    meta = run_dir / "scores/lookup__rule_meta.json"
    record = json.loads(meta.read_text())
    meta.write_text(json.dumps({**record, "n_poles": 17}))
    with pytest.raises(BadRunError, match="its own checksum"):
        Scores.open(run_dir)


def test_an_empty_log_can_be_finished(run_dir: Path) -> None:
    with Run.open(run_dir) as run:
        begin_scores(run, about("words", "rule")).close()
        assert finish_scores(run, NAME).n_lines == 0
    assert only(run_dir).empty
