"""Stage 4 end to end: records of a corpus into an existing run and into a new one."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from record_stage import arrays, extract, flags, write_corpus
from tiny_models import tiny_model_dir

from neuron_signatures import poc1_dump_activations
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "texts.jsonl")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new run with records of all neurons, all kept whole."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert extract(*flags(corpus, path)) == 0
    return path


def test_a_new_run_holds_records_and_no_prompts(whole: Path) -> None:
    with Run.open(whole) as run:
        assert run.manifest.n_prompts == 0 and run.manifest.stage == "poc4_extract_records"
        with Records.open(run) as records:
            assert records.holds(2, 0)
    with Records.open(whole) as records:
        assert records.layers == (0, 1, 2) and records.sampled(1, 3)
        strongest = records.strongest(1, 3, "+")
        values = [w.value for w in strongest]
        assert values == sorted(values, reverse=True) and len({w.document for w in strongest}) == len(strongest)
        for w in strongest:
            assert w.acts is not None and w.pos is not None
            assert w.acts[w.pos] == pytest.approx(w.value, rel=1e-5)
            assert w.acts[w.counted_from :].max() == w.acts[w.pos]
        assert records.sample_meta is not None and records.sample_meta.worst_difference < 1e-5
    assert sorted(p.name for p in (whole / "records").iterdir() if not p.name.endswith(".lock")) == [
        "corpus.safetensors", "corpus_meta.json", "documents.parquet", "histograms.safetensors", "moments.safetensors",
        "neurons.parquet", "records_meta.json", "rows.safetensors", "sample.safetensors", "sample_meta.json",
        "strongest.safetensors", "vocabulary.parquet",
    ]  # fmt: skip


def test_records_go_into_an_existing_run(corpus: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    prompt = ["--single_prompt", "the capital of Texas is", "--out_dir", str(run)]
    model = ["--model_name", str(tiny_model_dir("gemma2")), "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert poc1_dump_activations.main([*prompt, *model, "--bos", "off"]) == 0
    rest = flags(corpus, run)[6:]
    assert extract("--run_dir", str(run), *rest, "--neurons", "L1N3,L0N2", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["sample"]["n_neurons"] == 2 and found["sample"]["chosen_by"] == "--neurons"
    with Records.open(run) as records:
        assert records.sampled_neurons == [(0, 2), (1, 3)] and not records.sampled(1, 4) and records.holds(1, 4)
    # more neurons later, without the corpus
    assert extract("--run_dir", str(run), "--neurons", "L1N5", "--quiet") == 0
    with Records.open(run) as records:
        assert records.sampled_neurons == [(1, 5)]


def test_the_flags_of_the_earlier_tool(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    assert extract(
        "--model", str(tiny_model_dir("gemma2")), "--model-dtype", "fp32", "--device", "cpu", "--corpus", str(corpus),
        "--text-column", "text", "--layer-index", "1", "--neuron-indices", "4", "7", "--sequence-length", "16",
        "--max-sequences", "40", "--output-dir", str(out), "--quiet",
    ) == 0  # fmt: skip
    files = sorted(p.relative_to(out).as_posix() for p in (out / "neurons").rglob("*.json"))
    assert files == ["neurons/1/4.json", "neurons/1/7.json"]
    record = json.loads((out / files[0]).read_text())
    assert record["neuron_id"] == {"layer_index": 1, "neuron_index": 4}
    peaks = [max(r["activations"]) for r in record["most_positive_activation_records"]]
    assert peaks == sorted(peaks, reverse=True) and 0 < len(peaks) <= 100
    with Records.open(out) as records:
        assert records.layers == (1,) and records.corpus.n_windows <= 40


def test_export_and_import(whole: Path, tmp_path: Path) -> None:
    first, again, back = tmp_path / "first", tmp_path / "again", tmp_path / "back"
    assert extract("export", "--run_dir", str(whole), "--out_dir", str(first), "--neurons", "L0N1,L1N2", "--quiet") == 0
    assert extract("import", "--source", str(first), "--out_dir", str(back), "--quiet") == 0
    assert extract("export", "--run_dir", str(back), "--out_dir", str(again), "--quiet") == 0
    for name in ("neurons/0/1.json", "neurons/1/2.json"):
        assert json.loads((first / name).read_text()) == json.loads((again / name).read_text())


def test_flags_of_a_corpus_need_one(whole: Path, capsys) -> None:
    assert extract("--run_dir", str(whole), "--max_tokens", "5", "--quiet") == 2
    assert "--max_tokens is for reading a corpus" in capsys.readouterr().err


def test_dry_run_writes_nothing(corpus: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert extract(*flags(corpus, run, "--dry_run", "--max_tokens", "500", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_tokens"] == 500 and found["seconds"] > 0 and found["memory_bytes"] > 0 and not run.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--top_k", "3"], "--top_k counts the neurons of --from"),
        (["--shard", "1/2", "--merge"], "give one of them"),
        (["--parts", "50,50"], "three percentages"),
        (["--shard", "3/2"], "not a part such as 1/4"),
        (["--neurons", "L9N1"], "there is no such neuron"),
        (["--layer_indices", "0", "9"], "there is no layer 9"),
        (["--sequence_length", "1000000"], "not between 2 and"),
    ],
)
def test_bad_flags(corpus: Path, tmp_path: Path, capsys, change: list[str], what: str) -> None:
    assert extract(*flags(corpus, tmp_path / "run", *change)) == 2
    err = capsys.readouterr().err
    assert what in err and "Traceback" not in err


def test_another_corpus_or_other_settings_are_refused(corpus: Path, whole: Path, tmp_path: Path, capsys) -> None:
    other = write_corpus(tmp_path / "other.jsonl", seed=1)
    assert extract(*flags(other, whole, "--resume")) == 2
    assert "the run has another corpus" in capsys.readouterr().err
    assert extract("--run_dir", str(whole), "--top_records", "9", "--quiet") == 2
    assert "top_k was 4, is 9" in capsys.readouterr().err
    assert extract(*flags(corpus, whole)) == 2
    assert "holds a run already" in capsys.readouterr().err


def run_and_kill(command: list[str], seconds: float) -> int | None:
    """The exit code, or None if the process was killed first."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None


KILLED = "import sys; from record_stage import extract_slowly; sys.exit(extract_slowly(sys.argv[1:], 0.01))"


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(
    corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rng = tmp_path / "run", random.Random(5)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", KILLED, *flags(corpus, run, "--checkpoint_seconds", "0", "--resume")]
    started = time.monotonic()
    assert subprocess.run([*command[:-1], "--dry_run"], capture_output=True, check=False).returncode == 0
    startup = time.monotonic() - started
    kills = 0
    for _ in itertools.count():
        code = run_and_kill(command, startup * rng.uniform(0.3, 1.6))
        if code is not None:
            assert code == 0
            if kills >= 20:
                break
            for path in sorted(run.rglob("*"), reverse=True):  # finished too early: once more from the beginning
                path.unlink() if path.is_file() else path.rmdir()
            continue
        kills += 1
        if kills >= 20:
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0
            break
    assert arrays(run) == arrays(whole)
    assert not [p.name for p in (run / "records").iterdir() if "partial" in p.name or p.name.startswith("pass1")]


def test_a_full_disk_ends_with_one_line(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
    code = limit + "from neuron_signatures import poc4_extract_records as p; sys.exit(p.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *flags(corpus, run)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "File too large" in done.stderr or "needed" in done.stderr
    assert extract(*flags(corpus, run, "--resume")) == 0
