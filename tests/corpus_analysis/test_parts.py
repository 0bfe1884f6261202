"""Analyses of records read no text of the part report."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from record_stage import flags, write_corpus

from neuron_signatures.poc4_extract_records import main
from neuron_signatures.poc8_weights import main as weights
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, MEANING_WINDOWS
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS

BARE = ["--quiet"]
COMMANDS = {
    "similar": ["--n_draws", "5"],
    "clusters": ["--all", "--by", "activations,exemplars", "--k", "3", "--n_bootstraps", "3", "--n_shuffles", "3",
                 "--n_random", "2", "--effect_windows", "2"],
    "meanings": ["--n_null", "200", "--min_windows", "2"],
    "ngrams": ["--min_count", "2"],
    "contrast": ["--a", "regex:a$", "--unit", "window"],
}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    corpus = write_corpus(folder / "corpus.jsonl", n=200)
    assert main(flags(corpus, folder / "run", "--top_records", "8", "--neurons", "L0N1,L0N3,L1N2,L1N4,L2N7,L2N9")) == 0
    return folder / "run"


@pytest.fixture
def read(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The functions that read tokens of the corpus, by the part of these tokens."""
    found: dict[str, set[str]] = {part: set() for part in PARTS}
    plain = Corpus.tokens_between

    def tokens_between(corpus: Corpus, start: int, stop: int) -> np.ndarray:
        ends = corpus.window_start + corpus.window_length
        windows = np.flatnonzero((corpus.window_start < stop) & (ends > start))
        frame = sys._getframe(1)
        while frame.f_code.co_name in ("token_ids", "<listcomp>", "<genexpr>"):
            assert frame.f_back is not None
            frame = frame.f_back
        for window in windows.tolist():
            found[corpus.part_of(window)].add(frame.f_code.co_name)
        return plain(corpus, start, stop)

    monkeypatch.setattr(Corpus, "tokens_between", tokens_between)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_no_text_of_report_is_read(command: str, run_dir: Path, read: dict[str, set[str]]) -> None:
    assert main([command, "--run_dir", str(run_dir), *COMMANDS[command], *BARE]) == 0
    assert read["explain"]
    # The longest window and the largest token id of the corpus decide what fits the model. `nearby_tokens` reads the
    # range between windows of explain and select, and gives only the tokens of these.
    assert read["report"] <= {"longest_window", "refuse_unknown_tokens", "nearby_tokens"}
    if command == "meanings":
        with Corpus.open(run_dir) as corpus:
            windows = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, MEANING_WINDOWS)["window"]
            assert {corpus.part_of(int(w)) for w in windows} == {"explain"}


def test_weights_count_no_token_of_report(run_dir: Path, read: dict[str, set[str]]) -> None:
    assert weights(["--run_dir", str(run_dir), "--neighbours", "none", "--device", "cpu", "--quiet"]) == 0
    assert read["explain"] and not read["report"]
