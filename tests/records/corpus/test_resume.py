"""A corpus pass that is killed at any moment and resumed writes what an uninterrupted one writes."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import BOS, EOS, Texts, build, letters
from pytest import MonkeyPatch

from neuron_signatures.records.corpus import index, journal, reading
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.files import json_text
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.results import ResultsWriter

TEXTS = [f"document {i} of the test" if i % 7 else ("" if i % 2 else "the same") for i in range(60)]


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BATCH_CHARACTERS", 120)


def content(folder: Path) -> dict[str, bytes | str]:
    """The files of a corpus; of the record everything but the time."""
    with Corpus.open(folder) as corpus:
        meta = corpus.meta.model_dump(exclude={"created_at_utc", "record_sha256"})
    names = [p.name for p in (folder / "records").iterdir() if not p.name.startswith(".tmp-")]
    files = {name: (folder / "records" / name).read_bytes() for name in names if name != "corpus_meta.json"}
    return files | {"corpus_meta.json": json_text(meta)}


@pytest.mark.parametrize("concatenate", [False, True])
@pytest.mark.parametrize("limit", [None, 300])
def test_killed_while_any_text_is_read(tmp_path: Path, concatenate: bool, limit: int | None) -> None:
    s = {"concatenate": concatenate, "eos_token_id": EOS if concatenate else None, "max_tokens": limit}
    build(tmp_path / "whole", Texts(TEXTS), **s)
    for at in range(0, len(TEXTS), 3):
        folder = tmp_path / str(at)
        with pytest.raises(Killed):
            build(folder, Texts(TEXTS, fail_at=at, error=Killed()), **s)
            raise Killed  # the limit came first
        if not (folder / "records" / "corpus_meta.json").exists():
            build(folder, Texts(TEXTS), resume=True, **s)
        assert content(folder) == content(tmp_path / "whole")


def test_killed_at_any_write(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """Before and after each batch, and between each file of the result."""
    build(tmp_path / "whole", Texts(TEXTS))
    n, at = 0, 0

    def killing(function: Callable[..., object], before: bool) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            nonlocal n
            n += 1
            if n == at and before:
                raise Killed
            value = function(*args, **kwargs)
            if n == at:
                raise Killed
            return value

        return run

    for before in (True, False):
        at, finished = 0, False
        while not finished:
            n, at = 0, at + 1
            folder = tmp_path / f"{before}{at}"
            with monkeypatch.context() as patch:
                patch.setattr(journal, "_sync", killing(journal._sync, before))
                patch.setattr(ResultsWriter, "record", killing(ResultsWriter.record, before))
                patch.setattr(ResultsWriter, "begin", killing(ResultsWriter.begin, before))
                patch.setattr(journal.Journal, "remove", killing(journal.Journal.remove, before))
                try:
                    build(folder, Texts(TEXTS))
                    finished = True
                except Killed:
                    build(folder, Texts(TEXTS), resume=True)
            assert content(folder) == content(tmp_path / "whole")
        assert at > 20


def test_a_journal_cut_at_any_byte(tmp_path: Path) -> None:
    build(tmp_path / "whole", Texts(TEXTS))
    with pytest.raises(Killed):
        build(tmp_path / "run", Texts(TEXTS, fail_at=50, error=Killed()))
    records = tmp_path / "run" / "records"
    lines, tokens = (records / journal.JOURNAL).read_bytes(), (records / journal.TOKENS).read_bytes()
    for end in [*range(0, len(lines), 97), len(lines) - 1]:
        (records / journal.JOURNAL).write_bytes(lines[:end])
        (records / journal.TOKENS).write_bytes(tokens)
        build(tmp_path / "run", Texts(TEXTS), resume=True)
        assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["shorter", "longer", "changed", "empty", "missing"])
def test_tokens_that_differ_from_the_journal_are_made_again(tmp_path: Path, harm: str) -> None:
    build(tmp_path / "whole", Texts(TEXTS))
    with pytest.raises(Killed):
        build(tmp_path / "run", Texts(TEXTS, fail_at=50, error=Killed()))
    path = tmp_path / "run" / "records" / journal.TOKENS
    raw = path.read_bytes()
    changed = {"shorter": raw[:-5], "longer": raw + b"rest", "changed": raw[:-9] + b"\xff" + raw[-8:], "empty": b""}
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[harm])
    build(tmp_path / "run", Texts(TEXTS), resume=True)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_other_settings_and_a_changed_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        build(tmp_path, Texts(TEXTS, fail_at=50, error=Killed()))
    with pytest.raises(UsageError, match="cannot resume: seed was 0, is 1"):
        build(tmp_path, Texts(TEXTS), resume=True, seed=1)
    for changed in ([*TEXTS[:3], "another", *TEXTS[3:]], TEXTS[:10], [None, *TEXTS[1:]]):
        with pytest.raises(UsageError, match=r"it has changed.*Start again without --resume"):
            build(tmp_path, Texts(changed), resume=True)
    build(tmp_path, Texts(TEXTS), resume=True)


def test_without_resume_it_starts_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        build(tmp_path, Texts(TEXTS, fail_at=50, error=Killed()))
    assert build(tmp_path, Texts(["other texts"]), seed=1).n_documents == 1
    assert not journal.has_journal(tmp_path)


def test_a_source_that_fails_half_way_keeps_what_was_read(tmp_path: Path) -> None:
    build(tmp_path / "whole", Texts(TEXTS))
    fault = EnvironmentProblem("the stream broke", next_step="Try again with --resume")
    with pytest.raises(EnvironmentProblem, match="the stream broke"):
        build(tmp_path / "run", Texts(TEXTS, fail_at=40, error=fault))
    assert journal.has_journal(tmp_path / "run")
    build(tmp_path / "run", Texts(TEXTS), resume=True)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_complete_corpus_is_not_made_again(tmp_path: Path) -> None:
    made = build(tmp_path, Texts(TEXTS))
    again = build(tmp_path, Texts(TEXTS, fail_at=0, error=AssertionError()), resume=True)
    assert again.model_dump(exclude={"files", "record_sha256"}) == made.model_dump(exclude={"files", "record_sha256"})
    with pytest.raises(UsageError, match="cannot resume: max_tokens was None, is 20"):
        build(tmp_path, Texts(TEXTS), resume=True, max_tokens=20)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """Files may not be larger than a few kilobytes."""
    texts = Texts([f"document {i} of the test" for i in range(400)])
    build(tmp_path / "whole", texts)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (9_000, 20_000, 34_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            with pytest.raises(EnvironmentProblem, match="File too large"):
                build(tmp_path / "run", texts, resume=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.has_journal(tmp_path / "run")
    build(tmp_path / "run", texts, resume=True)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from corpora import Texts, build
from neuron_signatures.records.corpus import reading
reading._BATCH_CHARACTERS = 2000
print("ready", flush=True)
build(Path(sys.argv[1]), Texts([f"document {i} of the test" for i in range(20000)]), resume=True)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for run, pauses in (("whole", []), ("killed", [0.1, 0.3, 0.5, 0.8])):
        for pause in pauses:
            child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / run)], env=env, stdout=subprocess.PIPE)
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            try:
                child.wait(pause)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
        subprocess.run([sys.executable, "-c", code, str(tmp_path / run)], env=env, check=True)
    assert content(tmp_path / "whole") == content(tmp_path / "killed")


def test_bos_is_part_of_the_settings(tmp_path: Path) -> None:
    settings = CorpusSettings(sequence_length=8)
    with_bos = dataclasses.replace(settings, bos_token_id=BOS)
    one, two = (index.corpus_identity(Texts([]), s, letters()) for s in (settings, with_bos))
    assert {k for k in one if one[k] != two[k]} == {"bos_token_id", "stride"}
