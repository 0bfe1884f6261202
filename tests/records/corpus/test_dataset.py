"""Streamed datasets: local folders through the real library, and what the Hub may answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import huggingface_hub
import pytest
from corpora import build
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from neuron_signatures.records.corpus import reading
from neuron_signatures.records.corpus.journal import has_journal
from neuron_signatures.records.corpus.sources.choose import dataset_source
from neuron_signatures.records.corpus.sources.hub_dataset import DatasetSource
from neuron_signatures.records.corpus.sources.items import Item
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

datasets = pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"text": f"document {i}", "n": i} for i in range(200)] + [{"text": None, "n": 0}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path / "data"


def source(name: object, *, split: str = "train", column: str = "text", **more: Any) -> DatasetSource:
    found = dataset_source(str(name), split=split, text_column=column, **more)
    assert isinstance(found, DatasetSource)
    return found


def test_a_folder_is_streamed(folder: Path, tmp_path: Path) -> None:
    items = list(source(folder).items())
    assert items[:2] == [Item(f"{folder}:train:1", "document 0"), Item(f"{folder}:train:2", "document 1")]
    assert items[-1] == Item(f"{folder}:train:201", skipped="no_text")
    meta = build(tmp_path / "run", source(folder))
    assert meta.n_documents == 200 and meta.dropped == {"no_text": 1}
    assert meta.source == {"kind": "dataset", "dataset": str(folder), "config": None, "split": "train",
                           "text_column": "text", "revision": None}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, r"Bad split: test\. Choose one with --split"),
        ({"column": "body"}, "no column 'body'; it has text, n. Name the text with --text_column"),
        ({"column": "n"}, "'n' is int, not text"),
        ({"config": "large"}, "BuilderConfig 'large' not found. Choose one with --dataset_config"),
    ],
)
def test_a_mistake_in_a_flag(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(source(folder, **changes).items())


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"contain any data files. Give a folder with data files"):
        list(source(tmp_path / "empty").items())
    with pytest.raises(UsageError, match="neither a folder nor the id of a dataset"):
        source(tmp_path / "none").describe()


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"cannot be read from .* \(HF_HUB_OFFLINE is set\). Check the network"
    ):
        source("owner/name").describe()


def answer(kind: type[Exception], status: int) -> Exception:
    request = httpx2.Request("GET", "https://huggingface.co/api")
    return kind("refused with hf_abcdefghijklmnop", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        ((GatedRepoError, 403), EnvironmentProblem, "access is gated and HF_TOKEN .*Accept its terms on"),
        ((RepositoryNotFoundError, 404), EnvironmentProblem, "not found on .*, or private, and HF_TOKEN"),
        ((RevisionNotFoundError, 404), UsageError, "--dataset_revision 'v9' does not exist"),
    ],
)
def test_what_the_hub_refuses(
    monkeypatch: pytest.MonkeyPatch, error: tuple[type[Exception], int], expected: type[Exception], message: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise answer(*error)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(expected, match=message) as e:
        source("owner/name", revision="v9").describe()
    assert "hf_abc" not in str(e.value)


class Stream:
    """A stream of rows that breaks after `n`."""

    column_names = ("text",)

    def __init__(self, n: int | None) -> None:
        self.n = n

    def __iter__(self) -> Iterator[dict[str, str]]:
        for i in range(300):
            if i == self.n:
                raise ConnectionError("connection reset by hf_abcdefghijklmnop")
            yield {"text": f"document {i}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A Hub with one dataset at commit `c1`, whose stream breaks after `breaks_at` rows."""
    state = SimpleNamespace(sha="c1", breaks_at=None, asked=[])

    def load_dataset(*args: object, **options: object) -> Stream:
        state.asked.append((args, options))
        return Stream(state.breaks_at)

    info = lambda *_, **__: SimpleNamespace(sha=state.sha)  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(reading, "_BATCH_CHARACTERS", 200)
    return state


def test_a_stream_that_breaks_is_resumed(hub: SimpleNamespace, tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", source("owner/name"))
    assert hub.asked == [(("owner/name", None), {"split": "train", "revision": "c1", "streaming": True})]
    hub.breaks_at = 170
    with pytest.raises(
        EnvironmentProblem, match=r"the stream broke after 170 rows.* with --resume: what was read"
    ) as e:
        build(tmp_path / "run", source("owner/name"))
    assert "hf_abc" not in str(e.value) and has_journal(tmp_path / "run")
    hub.breaks_at = None
    resumed = build(tmp_path / "run", source("owner/name"), resume=True)
    assert resumed.source_sha256 == whole.source_sha256 and resumed.source["revision"] == "c1"


def test_another_commit_is_refused_on_resume(hub: SimpleNamespace, tmp_path: Path) -> None:
    hub.breaks_at = 100
    with pytest.raises(EnvironmentProblem):
        build(tmp_path / "run", source("owner/name"))
    hub.sha = "c2"
    with pytest.raises(UsageError, match="cannot resume: source"):
        build(tmp_path / "run", source("owner/name"), resume=True)


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentProblem, match=r"needs the package datasets. Install it with `pip install datasets`"):
        source(folder).describe()
