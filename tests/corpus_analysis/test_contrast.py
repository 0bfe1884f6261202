"""Contrasts on the corpus: the grammar, the sample, the tests against scipy, and `contrast` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from corpora import Texts, build
from record_runs import make_record_run
from record_stage import extract, flags, write_corpus
from scipy import stats

from neuron_signatures import poc4_extract_records
from neuron_signatures.corpus_analysis.contrast.grammar import parse_positions
from neuron_signatures.corpus_analysis.contrast.measure import Acts, held_out, labellings, n_found, rank_tests, ranked
from neuron_signatures.corpus_analysis.contrast.sides import find_sides, sample_sides
from neuron_signatures.runs.corpus_analysis.folder import CONTRAST, contrast_folder
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.corpus import Corpus

TOKENS = ("The", " capital", " of", " Tex", "as", " is", " of", " Austin")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("all", list(range(8))),
        ("token: of", [2, 6]),
        ("token:of", []),
        ("token: of| Austin", [2, 6, 7]),
        ("before: of", [1, 5]),
        ("after: of", [3, 7]),
        ("ngram: Texas", [4]),
        ("ngram: of Austin| of Texas", [4, 7]),
        ("regex:T\\w+", [0, 4]),
        ("regex: of (?=Tex)", [3]),
        ("regex:x*", [3]),
        ("wiki-*@token: is", [5]),
    ],
)
def test_positions_of_a_set(text: str, wanted: list[int]) -> None:
    side = parse_positions(text, flag="--a")
    assert np.flatnonzero(side.holds(TOKENS)).tolist() == wanted
    assert side.has_document("wiki-12")
    assert side.has_document("code-1") == (not text.startswith("wiki"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Austin", "names no positions"),
        ("wiki@", "names no positions"),
        ("@all", "names no positions"),
        ("token:", "empty text"),
        ("token: a|", "empty text"),
        ("regex:(", "is no regular expression"),
        ("all " * 600, "more than 2000"),
    ],
)
def test_what_is_no_set_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_positions(text, flag="--a")


def corpus_of(folder: Path, texts: list[str], **settings: object) -> Corpus:
    build(folder, Texts(texts), **{"parts": (100, 0, 0), "sequence_length": 8, **settings})
    return Corpus.open(folder)


def test_sides_that_overlap_are_refused_with_counts(tmp_path: Path) -> None:
    with corpus_of(tmp_path, ["xabxab", "yab"]) as corpus:
        a, b = parse_positions("token:b", flag="--a"), parse_positions("regex:x?ab", flag="--b")
        with pytest.raises(UsageError, match=r"3 positions of explain are in both sides \(A has 3, B 3\)"):
            find_sides(corpus, a, b, "explain")
        of_a, rest = find_sides(corpus, a, parse_positions("rest", flag="--b"), "explain")
    assert len(of_a.window) == 3
    counted = [(w, p) for w in range(2) for p in range(1, (6, 3)[w])]
    assert set(zip(rest.window.tolist(), rest.pos.tolist(), strict=True)) == set(counted) - set(
        zip(of_a.window.tolist(), of_a.pos.tolist(), strict=True)
    )


def test_a_document_gives_one_position_to_one_side(tmp_path: Path) -> None:
    texts = [f"{i} " + ("xaxa" if i < 10 else "xbxb" if i < 20 else "xaxb") for i in range(30)]
    with corpus_of(tmp_path, texts, sequence_length=16) as corpus:
        sides = find_sides(corpus, *(parse_positions(f"token:{t}", flag="--a") for t in "ab"), "explain")
        rng = np.random.default_rng(0)
        a, b = sample_sides(corpus, *sides, unit="document", most=100, rng=rng)
        few, _ = sample_sides(corpus, *sides, unit="document", most=7, rng=rng)
    documents = [corpus.window_document[s.places.window].tolist() for s in (a, b)]
    for own in documents:
        assert len(own) == len(set(own))
    assert not set(documents[0]) & set(documents[1])
    assert [len(own) for own in documents] == [15, 15]
    assert len(few.places.window) == 7


def test_equal_texts_count_once(tmp_path: Path) -> None:
    with corpus_of(tmp_path, ["xyab cd", "xyab ef", "xzab cd"]) as corpus:
        a, b = find_sides(corpus, *(parse_positions(s, flag="--a") for s in ("token:b", "before:b")), "explain")
        found, _ = sample_sides(corpus, a, b._replace(window=b.window[:0], pos=b.pos[:0]), unit="document", most=9,
                                rng=np.random.default_rng(0))  # fmt: skip
    assert len(found.places.window) == 2
    assert found.n_repeated == 1


def test_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(60, 5)).astype(np.float32)
    acts[:25, 1] += 1
    acts[:, 4] = 0
    found = Acts(acts, 25)
    table = rank_tests(found, labellings(25, 35, n_null=3, rng=rng))
    for i in range(4):
        wanted = stats.mannwhitneyu(acts[:25, i], acts[25:, i], method="exact")
        assert table.frame["p"][i] == pytest.approx(wanted.pvalue)
        assert table.frame["auroc"][i] == pytest.approx(wanted.statistic / (25 * 35))
        pooled = np.sqrt((24 * acts[:25, i].var(ddof=1) + 34 * acts[25:, i].var(ddof=1)) / 58)
        size = (acts[:25, i].mean() - acts[25:, i].mean()) / pooled
        assert table.frame["difference"][i] == pytest.approx(size, rel=1e-5)
    assert table.frame["p"][4] == 1
    assert np.isnan(table.frame["difference"][4])
    assert table.null_p.shape == (3, 5)
    again = held_out(found)
    np.testing.assert_allclose(again["held_out_auroc"], table.frame["auroc"])
    assert (again["held_out_low"] <= again["held_out_auroc"]).all()
    assert held_out(Acts(acts[:1], 1))["held_out_auroc"].isna().all()
    swapped = rank_tests(Acts(np.concatenate([acts[25:], acts[:25]]), 35), labellings(35, 25, n_null=0, rng=rng)).frame
    np.testing.assert_allclose(swapped["p"], table.frame["p"])
    np.testing.assert_allclose(swapped["auroc"], 1 - table.frame["auroc"])
    np.testing.assert_allclose(swapped["difference"], -table.frame["difference"])
    order = ranked(table.frame.assign(layer=0, neuron=range(5)))
    assert order["rank"][1] == 1


@pytest.mark.slow
def test_p_values_of_random_labels_are_uniform() -> None:
    rng = np.random.default_rng(1)
    acts = np.where(rng.random((40, 20_000)) < 0.3, 0, rng.normal(size=(40, 20_000)) ** 3).astype(np.float32)
    p = rank_tests(Acts(acts, 15), labellings(15, 25, n_null=20, rng=rng))
    for row in [p.frame["p"].to_numpy(), *p.null_p]:
        for level in (0.01, 0.05, 0.2, 0.5):
            assert abs((row <= level).mean() - level) < 0.02
    assert np.mean(n_found(p.null_p, 0.05)) < 2


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrast")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl", n=80), folder / "run")) == 0
    return folder / "run"


def contrast(run_dir: Path, *more: str) -> int:
    return poc4_extract_records.main(["contrast", "--run_dir", str(run_dir), "--quiet", "--device", "cpu", *more])


A, B = "regex:Austin", "regex:Dallas"


def test_a_contrast_of_a_run(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contrast(run_dir, "--a", A, "--b", B, "--name", "cities", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    folder = contrast_folder("cities")
    table = folder.read_table(run_dir, CONTRAST)
    assert len(table) == said["n_neurons"] == 3 * 88
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert ((table["auroc"] - 0.5).abs().diff().dropna() <= 1e-12).all()
    assert (table["q"] >= table["p"]).all()
    np.testing.assert_allclose(table["difference"], (table["mean_a"] - table["mean_b"]) / table["sd"], rtol=1e-6)
    assert said["explain"]["a"]["n"] == table["n_a"][0] <= said["explain"]["a"]["n_units"]
    assert table["held_out_auroc"].notna().all()
    assert folder.read_record(run_dir, CONTRAST).settings["a"] == A


def test_a_default_name_and_b(run_dir: Path) -> None:
    assert contrast(run_dir, "--a", A, "--n_null", "0") == 0
    names = [p.name for p in (run_dir / "corpus_analysis" / "contrasts").iterdir()]
    assert any(name.startswith("regex-Austin_vs_rest_") for name in names)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--a", A, "--b", "regex:A\\w+"], "positions of explain are in both sides"),
        (["--a", "Austin"], "names no positions"),
        (["--a", "rest"], "--a: rest is what A leaves"),
        (["--a", "token:Paris"], "0 independent positions in explain"),
        (["--a", A, "--name", "../x"], "--name"),
        (["--a", A, "--b", "regex:river", "--name", "cities"], "Give another name"),
        (["--a", A, "--layers", "7"], "7"),
    ],
)
def test_mistakes(run_dir: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert contrast(run_dir, "--a", A, "--b", B, "--name", "cities") == 0
    capsys.readouterr()
    assert contrast(run_dir, *more) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_records_says_what_to_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_record_run(tmp_path / "run")
    (tmp_path / "run" / "records" / "records_meta.json").unlink()
    assert contrast(tmp_path / "run", "--a", A) == 2
    assert "this has not been made yet. Make it with" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(p.name for p in run_dir.rglob("*"))
    assert contrast(run_dir, "--a", A, "--b", B, "--name", "new", "--dry_run") == 0
    assert "positions in explain" in capsys.readouterr().out
    assert sorted(p.name for p in run_dir.rglob("*")) == before
