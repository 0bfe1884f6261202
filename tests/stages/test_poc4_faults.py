"""Stage 4 under faults: mistakes in flags, killed commands, models and corpora that are not what they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tiny_models import tiny_model_dir
from transformers import AutoModelForCausalLM, AutoTokenizer

from neuron_signatures import poc4_extract_records
from neuron_signatures.records import all_neurons, chosen_neurons
from neuron_signatures.records.corpus.sources.cutting import pieces
from neuron_signatures.records.corpus.sources.files import FileSource
from neuron_signatures.runs.records.reader import Records

RECORDS = "corpus_meta.json", "records_meta.json", "sample_meta.json"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    words = ["the capital", "of Texas", "is Austin", "and Dallas", "in a state"]
    rows = [" ".join(words[(i * j + i) % 5] for j in range(2 + i % 7)) + f" {i}" for i in range(40)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


def flags(corpus: Path, out_dir: Path, *more: str, model: Path | None = None) -> list[str]:
    return [
        "--out_dir", str(out_dir), "--model_name", str(model or tiny_model_dir("gemma2")), "--model_dtype", "fp32",
        "--device", "cpu", "--corpus", str(corpus), "--sequence_length", "16", "--batch_size", "2", "--top_records",
        "4", "--quiet", *more,
    ]  # fmt: skip


def extract(*args: str) -> int:
    return poc4_extract_records.main(list(args))


@pytest.fixture
def whole(corpus: Path, tmp_path: Path) -> Path:
    assert extract(*flags(corpus, tmp_path / "whole")) == 0
    return tmp_path / "whole"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--layer_index", "9"], "there is no layer 9: the model has 0..2"),
        (["--neurons", "L0N88"], "there is no such neuron: the model has 3 layers of 88 neurons"),
        (["--layer_index", "1", "--neurons", "L0N3"], "the layer of this neuron is not one of --layer_indices"),
        (["--neuron_indices", "3", "900"], "--neuron_indices 900: there is no such neuron"),
        (["--top_records", "70000"], "70000 is more than 65536"),
        (["--sequence_length", "65"], "65 is more than the 64 positions of the model"),
    ],
)
def test_flags_are_checked_before_anything_is_made(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], what: str
) -> None:
    assert extract(*flags(corpus, tmp_path / "run", *change)) == 2
    assert what in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [["--layer_index", "9"], ["--corpus", "latin.txt"]])
def test_overwrite_with_a_mistake_keeps_the_records(whole: Path, tmp_path: Path, change: list[str]) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 au lait " * 9)
    change = [str(latin) if c == "latin.txt" else c for c in change]
    assert extract("--run_dir", str(whole), "--quiet", "--overwrite", "--sequence_length", "16", *change) == 2
    assert all((whole / "records" / name).exists() for name in RECORDS)
    assert extract("--run_dir", str(whole), "--quiet") == 0


def test_overwrite_without_a_corpus_keeps_the_one_of_the_run(whole: Path) -> None:
    before = (whole / "records" / "corpus_meta.json").read_bytes()
    assert extract("--run_dir", str(whole), "--quiet", "--overwrite", "--top_records", "2") == 0
    assert (whole / "records" / "corpus_meta.json").read_bytes() == before
    with Records.open(whole) as records:
        assert records.meta.top_k == 2


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of the stage catches it."""


@pytest.mark.parametrize(
    ("module", "name"), [(all_neurons, "remove_states"), (chosen_neurons, "remove_partial_values")]
)
def test_what_a_killed_command_left_is_removed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    def kill(path: Path) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(module, name, kill)
        extract(*flags(corpus, tmp_path / "run"))
    assert extract(*flags(corpus, tmp_path / "run", "--resume")) == 0
    assert extract("--run_dir", str(tmp_path / "run"), "--quiet") == 0  # nothing is left to be resumed


def test_a_second_pass_for_other_neurons_is_not_discarded(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(*_: object) -> None:
        raise KilledError

    run = ("--run_dir", str(whole), "--quiet")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(chosen_neurons, "write_chosen", kill)
        extract(*run, "--neurons", "L0N1")
    assert extract(*run, "--resume") == 2
    assert "a second pass for other neurons was stopped here" in capsys.readouterr().err
    assert extract(*run, "--neurons", "L0N1", "--resume") == 0
    with Records.open(whole) as records:
        assert records.sampled_neurons == [(0, 1)]


def test_the_same_neurons_are_not_run_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_again(*_: object) -> None:
        raise AssertionError("the second pass ran again")

    run = ("--run_dir", str(whole), "--quiet", "--neurons", "L0N1,L2N3", "--sample_windows", "5")
    assert extract(*run) == 0
    monkeypatch.setattr(chosen_neurons, "fill_values", run_again)
    assert extract(*run) == 0


def test_a_source_that_gave_nothing_leaves_nothing_to_resume(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert extract(*flags(tmp_path / "latin.txt", tmp_path / "run")) == 2
    assert "not UTF-8 (byte 3)" in capsys.readouterr().err
    assert extract(*flags(corpus, tmp_path / "run", "--resume")) == 0


def model_with(folder: Path, change: str) -> Path:
    """A tiny model with a fault."""
    source = tiny_model_dir("gemma2")
    model = AutoModelForCausalLM.from_pretrained(source)
    if change == "nan":
        token = AutoTokenizer.from_pretrained(source)("Texas", add_special_tokens=False)["input_ids"][0]
        model.model.embed_tokens.weight.data[token] = torch.nan
    elif change == "large":
        model.model.layers[1].mlp.up_proj.weight.data.mul_(1e11)
    else:
        model.resize_token_embeddings(200)
    shutil.copytree(source, folder)
    model.save_pretrained(folder)
    return folder


def test_windows_that_are_not_finite_are_left_out_of_the_sample(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert extract(*flags(corpus, run, model=model_with(tmp_path / "model", "nan"))) == 0
    with Records.open(run) as records:
        n_out, n = records.meta.left_out["1"], records.corpus.n_windows
        sample = records.sample(1, 3)
        assert 0 < n_out < n and len(sample.windows) == n - n_out and np.isfinite(sample.acts).all()
    assert f"left out   of {n} windows, as not finite: {n_out} in layer 0" in capsys.readouterr().out


def test_moments_of_very_large_activations(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert extract(*flags(corpus, run, model=model_with(tmp_path / "model", "large"))) == 0
    with Records.open(run) as records:
        found, sample = records.moments(1, 3), records.sample(1, 3)
        acts = sample.acts[sample.counts].astype(np.float64)
        assert np.abs(acts).max() > 1e10 and found.std == pytest.approx(acts.std(), rel=1e-5)
        assert found.kurtosis == pytest.approx(((acts - acts.mean()) ** 4).mean() / acts.var() ** 2, rel=1e-5)


def test_tokens_without_an_embedding_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_with(tmp_path / "model", "small")
    assert extract(*flags(corpus, tmp_path / "run", model=model)) == 3
    assert "but the model has 200 embeddings" in capsys.readouterr().err


def test_a_link_to_itself_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    items = list(FileSource(tmp_path, "text", 100).items())
    assert [(i.name, i.skipped) for i in items] == [("a.txt", ""), ("loop.txt", "link")]


def test_a_long_text_is_cut_in_one_pass() -> None:
    class CountingText(str):
        copied = 0

        def __getitem__(self, key: object) -> str:
            found = str.__getitem__(self, key)
            CountingText.copied += len(found)
            return CountingText(found)

        def __radd__(self, other: str) -> str:
            return CountingText(str.__add__(other, self))

    text = CountingText("one two\n" * 20_000)
    assert "".join(pieces([text], 100)) == text and CountingText.copied <= 2 * len(text)


def test_a_link_out_of_the_run_is_not_read(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = whole / "records" / "strongest.safetensors"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert extract("--run_dir", str(whole), "--quiet", "--neurons", "L0N3") == 3
    assert "strongest.safetensors" in capsys.readouterr().err
