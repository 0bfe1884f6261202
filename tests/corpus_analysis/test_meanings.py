"""Groups of windows, their null, and `meanings` as a command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from record_runs import make_record_run

from neuron_signatures import poc4_extract_records
from neuron_signatures.corpus_analysis.contexts import ContextSettings, open_contexts
from neuron_signatures.corpus_analysis.meanings.groups import diversity, group_windows, measure
from neuron_signatures.corpus_analysis.meanings.null import Nulls, Pool
from neuron_signatures.corpus_analysis.meanings.tokens import apart_tokens, token_shares
from neuron_signatures.runs.corpus_analysis.folder import (
    CORPUS_ANALYSIS_FOLDER,
    MEANING_GROUPS,
    MEANING_WINDOWS,
    MEANINGS,
)
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.reader import Records

BLOCKS = np.array([0, 0, 0, 1, 1, 2])
APART = np.where(BLOCKS[:, None] == BLOCKS[None, :], 0.1, 0.9) - 0.1 * np.eye(6)


def test_groups_are_cut_at_the_threshold_largest_first() -> None:
    order = np.array([5, 3, 0, 4, 1, 2])
    shuffled = APART[np.ix_(order, order)]
    assert group_windows(shuffled, 0.5).tolist() == [2, 1, 0, 1, 0, 0]
    assert set(group_windows(shuffled, 1.0).tolist()) == {0}
    assert len(set(group_windows(shuffled, 0.05).tolist())) == 6
    assert group_windows(np.zeros((1, 1)), 0.5).tolist() == [0]


def test_measures_of_groups() -> None:
    found = measure(APART, BLOCKS)
    share = np.array([3, 2, 1]) / 6
    assert found.effective_number == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    assert (found.n_windows, found.n_groups) == (6, 3)
    assert found.within == pytest.approx(0.1)
    assert found.between == pytest.approx(0.9)
    assert math.isnan(measure(APART, np.zeros(6, int)).between)


def test_diversity_is_the_effective_number_of_groups_that_are_alike_within_and_unlike_between() -> None:
    perfect = (BLOCKS[:, None] != BLOCKS[None, :]).astype(float)
    assert diversity(perfect) == pytest.approx(measure(perfect, BLOCKS).effective_number)
    assert diversity(np.zeros((4, 4))) == pytest.approx(1)
    assert diversity(1 - np.eye(4)) == pytest.approx(4)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meanings") / "run"
    make_record_run(folder)
    return folder


def test_null_draws_have_no_window_twice_and_p_is_uniform_for_random_windows(run_dir: Path) -> None:
    with Corpus.open(run_dir) as corpus:
        contexts = open_contexts(corpus, ContextSettings())
        rng = np.random.default_rng(0)
        window = np.repeat(np.arange(corpus.n_windows), 2)
        pos = np.array([rng.integers(corpus.window_length[w]) for w in window])
        pool = Pool(window, contexts.embed(window, pos))
        nulls = Nulls(contexts, {"+": pool}, 0.5, n_draws=200, seed=3)
        assert nulls.of("+", corpus.n_windows + 1) is None
        everything = nulls.of("+", corpus.n_windows)
        assert everything is not None
        null = nulls.of("+", 8)
        assert null is not None
        found = []
        for _ in range(200):
            at = pool.embedded[rng.choice(len(window) // 2, 8, replace=False) * 2]
            apart = contexts.distances(at, at)
            np.fill_diagonal(apart, 0)
            found.append(null.p(diversity(apart)))
    assert abs(np.mean(np.array(found) <= 0.1) - 0.1) < 0.06
    assert null.p(1.0) == pytest.approx(2 / 201)


def test_tokens_that_set_a_group_apart(run_dir: Path) -> None:
    with Corpus.open(run_dir) as corpus:
        shares = token_shares(corpus, "explain")
        assert shares.share.sum() == pytest.approx(1)
        rare, common = int(shares.ids[shares.share.argmin()]), int(shares.ids[shares.share.argmax()])
        around = np.array([[common, rare, -1], [rare, common, common], [common, -1, -1], [common, common, 3]], np.int32)
        assert apart_tokens(around, np.array([0, 1]), shares)[0] == rare
        assert common not in apart_tokens(around, np.array([0, 1]), shares)


def meanings(run_dir: Path, *more: str) -> int:
    return poc4_extract_records.main(["meanings", "--run_dir", str(run_dir), "--quiet", *more])


def test_the_tables_of_a_run(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert meanings(run_dir, "--all", "--min_windows", "4", "--n_null", "200", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    table = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, MEANINGS)
    groups = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, MEANING_GROUPS)
    windows = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, MEANING_WINDOWS)
    with Records.open(run_dir) as records:
        assert len(table) == 2 * len(records.layers) * records.d_mlp == said["n_lists"]
        for row in table[table["effective_number"].notna()].to_dict("records")[:20]:
            key = [row["layer"], row["neuron"], row["pole"]]
            own = groups[(groups[["layer", "neuron", "pole"]] == key).all(axis=1)]
            of_list = windows[(windows[["layer", "neuron", "pole"]] == key).all(axis=1)]
            listed = records.strongest(*key, parts=("explain",), rows=False)
            assert [(w.window, w.pos) for w in listed][: len(of_list)] == list(
                zip(of_list["window"], of_list["pos"], strict=True)
            )
            assert own["share"].sum() == pytest.approx(1)
            assert own["n_windows"].tolist() == np.bincount(of_list["group"]).tolist()
            assert row["effective_number"] == pytest.approx(np.exp(-(own["share"] * np.log(own["share"])).sum()))
            assert row["null_sd"] > 0
            assert 0 < row["p"] <= row["q"] <= 1
    short = table[table["n_windows"] < 4]
    assert short["effective_number"].isna().all()
    assert said["n_measured"] == int((table["n_windows"] >= 4).sum())


def test_same_seed_same_tables(run_dir: Path) -> None:
    found = []
    for _ in range(2):
        assert meanings(run_dir, "--neurons", "L0N0,L1N3", "--min_windows", "4", "--n_null", "200") == 0
        found.append(CORPUS_ANALYSIS_FOLDER.read_table(run_dir, MEANINGS))
    assert found[0].equals(found[1])
    assert found[0][["layer", "neuron"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [1, 3]]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_record_run(tmp_path / "run")
    assert meanings(tmp_path / "run", "--all", "--min_windows", "4", "--dry_run") == 0
    assert "forecast: " in capsys.readouterr().out
    assert not (tmp_path / "run" / "corpus_analysis").exists()


def _without_records(folder: Path) -> Path:
    make_record_run(folder / "run")
    (folder / "run" / "records" / "records_meta.json").unlink()
    return folder / "run"


def _with_records(folder: Path) -> Path:
    make_record_run(folder / "run")
    return folder / "run"


@pytest.mark.parametrize(
    ("make", "flags", "message"),
    [
        (_without_records, [], "this has not been made yet. Make it with"),
        (_with_records, ["--neurons", "L9N0"], "L9N0"),
        (_with_records, ["--n_null", "10"], "10 is below 200"),
        (_with_records, ["--poles", "x"], "is not +, - or +,-"),
        (_with_records, ["--top_k", "3"], "--top_k counts the neurons of --from"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Path], flags: list[str], message: str
) -> None:
    try:
        code = meanings(make(tmp_path), *flags)
    except SystemExit as e:
        code = int(e.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
