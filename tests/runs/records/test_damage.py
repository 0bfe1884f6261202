"""Damaged, foreign and contradictory records: one line with file and reason, never a crash."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from record_runs import change_array, change_record, make_record_run

from neuron_signatures.runs.errors import BadRunError, ProjectError
from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.verify import verify_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_record_run(tmp_path_factory.mktemp("damage") / "r", n_documents=24)


@pytest.fixture
def run_dir(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "r")
    return tmp_path / "r"


def setting(index, value):
    def change(array):
        array[index] = value
        return array

    return change


def read_everything(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        records.neurons()
        for layer in records.layers:
            records.layer_moments(layer)
            for neuron in range(records.d_mlp):
                records.moments(layer, neuron)
                records.histogram(layer, neuron)
                for pole in POLES:
                    records.strongest(layer, neuron, pole)
                    records.often(layer, neuron, pole)
                if records.sampled(layer, neuron):
                    records.lookup(layer, neuron)
                    records.by_quantile(layer, neuron, n_quantiles=3, per_quantile=2, seed=0)
                    for pole in POLES:
                        records.by_interval(layer, neuron, pole, n_intervals=3, per_interval=2, seed=0)
                        records.hard_negatives(layer, neuron, pole, 3)
                        records.out_of_context(layer, neuron, pole, 3)


ENTRY = (0, 0, 0, 0, 0)
CHANGES = [
    ("strongest.safetensors", "window", setting(ENTRY, 10_000), "window 10000"),
    ("strongest.safetensors", "window", setting(ENTRY, 2**31 - 1), "window"),
    ("strongest.safetensors", "window", lambda a: a.astype(np.int64), "int64"),
    ("strongest.safetensors", "pos", setting(ENTRY, 999), "position"),
    ("strongest.safetensors", "pos", setting(ENTRY, -1), "position"),
    ("strongest.safetensors", "value", setting(ENTRY, np.nan), "finite"),
    ("strongest.safetensors", "value", lambda a: a[..., :-1].copy(), "expected float32"),
    ("strongest.safetensors", "window", lambda a: a[:, :, ::-1].copy(), "part|position"),
    ("moments.safetensors", "count", setting((0, 0, 0), -1), "moments"),
    ("moments.safetensors", "m2", setting((0, 0, 0), -0.5), "moments"),
    ("moments.safetensors", "mean", setting((0, 0, 0), np.inf), "moments"),
    ("histograms.safetensors", "edges", lambda a: a[::-1].copy(), "edges"),
    ("histograms.safetensors", "edges", lambda a: a[:-1].copy(), "edges"),
    ("sample.safetensors", "starts", setting(1, -5), "starts"),
    ("sample.safetensors", "starts", setting(1, 10**12), "starts"),
    ("sample.safetensors", "windows", setting(-1, 10_000), "windows"),
    ("sample.safetensors", "windows", lambda a: a[::-1].copy(), "windows"),
    ("sample.safetensors", "neurons", lambda a: a[::-1].copy(), "ascend"),
    ("sample.safetensors", "acts", setting((0, 0), np.nan), "finite"),
    ("rows.safetensors", "first_row", setting(1, 10**15), "first_row"),
    ("rows.safetensors", "first_row", setting(0, 3), "first_row"),
    ("rows.safetensors", "start", setting(1, 10**15), "values for window"),
    ("rows.safetensors", "start", setting(0, -(10**15)), "values for window"),
    ("rows.safetensors", "window", setting(0, -7), "windows"),
    ("rows.safetensors", "window", setting(0, 10_000), "windows"),
    ("rows.safetensors", "acts", lambda a: np.where(np.arange(len(a)) < 200, np.nan, a).astype("f4"), "finite"),
    ("rows.safetensors", "neurons", setting((0, 1), 5), "neurons"),
    ("corpus.safetensors", "tokens", setting(slice(None), 12345), "vocabulary"),
    ("corpus.safetensors", "window_length", setting(0, 10_000), "window"),
    ("corpus.safetensors", "window_document", setting(0, 9), "window"),
]


@pytest.mark.parametrize(("name", "key", "change", "reason"), CHANGES, ids=lambda x: x if isinstance(x, str) else "")
def test_an_array_that_cannot_be(run_dir, name, key, change, reason):
    change_array(run_dir, name, key, change)
    with pytest.raises(BadRunError, match=reason) as e:
        read_everything(run_dir)
    assert "records" in e.value.where and "\n" not in str(e.value)
    if key != "tokens":  # a vocabulary is read with the texts only
        assert any("records" in fault for fault in verify_run(run_dir).faults)


def test_lists_out_of_order_are_found_by_verify(run_dir):
    change_array(run_dir, "strongest.safetensors", "value", lambda a: np.ascontiguousarray(a[..., ::-1]))
    assert any("order" in fault for fault in verify_run(run_dir).faults)


@pytest.mark.parametrize(
    "name", ["strongest.safetensors", "moments.safetensors", "rows.safetensors", "neurons.parquet"]
)
def test_a_truncated_or_missing_file_is_named(run_dir, name):
    path = run_dir / "records" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadRunError, match="truncated") as e:
        Records.open(run_dir)
    assert name in e.value.where and any(name in f for f in verify_run(run_dir).faults)
    path.unlink()
    with pytest.raises(BadRunError, match="missing"):
        Records.open(run_dir)


@pytest.mark.parametrize("name", ["corpus_meta.json", "records_meta.json", "sample_meta.json"])
def test_a_changed_record(run_dir, name):
    meta = run_dir / "records" / name
    meta.write_text(meta.read_text().replace("2026-03-04", "2026-03-05"))
    with pytest.raises(BadRunError, match="checksum"):
        Records.open(run_dir)
    for raw, reason in (
        (b"[]", "field"),
        (b"{", "JSON"),
        (b'{"stage": NaN}', "JSON"),
        (b"\xff", "JSON"),
        (b"", "JSON"),
    ):
        meta.write_bytes(raw)
        with pytest.raises(BadRunError, match=reason) as e:
            Records.open(run_dir)
        assert name in e.value.where


@pytest.mark.parametrize(
    "fields", [{"surprise": 1}, {"top_k": "10"}, {"layers": []}, {"layers": [1, 0]}, {"layers": [0, 5]}, {"d_mlp": 13}]
)
def test_a_record_of_another_shape(run_dir, fields):
    change_record(run_dir / "records" / "records_meta.json", **fields)
    with pytest.raises(BadRunError) as e:
        read_everything(run_dir)
    assert "records" in e.value.where


def test_records_of_another_corpus(run_dir):
    change_record(run_dir / "records" / "records_meta.json", corpus_sha256="0" * 64)
    with pytest.raises(BadRunError, match="another corpus"):
        Records.open(run_dir)


def test_verify_names_records_of_another_model(run_dir):
    change_record(run_dir / "records" / "records_meta.json", model_name="other")
    assert any("model_name is 'other'" in fault for fault in verify_run(run_dir).faults)


def test_a_record_that_names_a_file_outside(run_dir):
    meta = run_dir / "records" / "records_meta.json"
    files = json.loads(meta.read_text())["files"]
    change_record(meta, files=[{**files[0], "name": "../../x"}, *files[1:]])
    with pytest.raises(BadRunError):
        Records.open(run_dir)


def test_changed_bytes_never_crash(whole, tmp_path):
    """A byte of any file changes: everything can be read, or an error of ours says why not."""
    chance = random.Random(0)
    names = [p.name for p in sorted((whole / "records").iterdir()) if p.suffix != ".json"]
    for i in range(60):
        target = tmp_path / f"r{i}"
        shutil.copytree(whole, target)
        path = target / "records" / names[i % len(names)]
        raw = bytearray(path.read_bytes())
        at = chance.randrange(min(len(raw), 4000) if i % 2 else len(raw))
        raw[at] ^= 1 << chance.randrange(8)
        path.write_bytes(raw)
        try:
            read_everything(target)
        except ProjectError as e:
            assert "\n" not in str(e) and e.where
        shutil.rmtree(target)
