"""Neuronpedia batches: keys, bins, and what comes back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from record_runs import make_record_run

from neuron_signatures.records.exchange.export import export_records
from neuron_signatures.records.exchange.imported import import_records
from neuron_signatures.records.exchange.options import ExportOptions, ImportOptions
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.verify import verify_run

KEYS = {
    "tokens", "values", "maxValue", "maxValueTokenIndex", "minValue", "binMin", "binMax", "binContains", "index",
    "layer", "modelId",
}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_record_run(tmp_path_factory.mktemp("exchange") / "r")


def export(run_dir: Path, out_dir: Path, **options):
    return export_records(run_dir, ExportOptions("neuronpedia", out_dir, **options))


def import_(source: Path, run_dir: Path, **options):
    return import_records(ImportOptions(source, run_dir, "neuronpedia", **options))


def lines(folder: Path) -> list[dict]:
    paths = sorted(folder.glob("batch-*.jsonl.gz"), key=lambda p: int(p.name[6:].split(".")[0]))
    return [json.loads(line) for p in paths for line in gzip.open(p)]


def test_batches(run_dir, tmp_path):
    export(run_dir, tmp_path, batch_size=5, source="mlp-demo", model_id="toy-1")
    names = sorted(p.name for p in (tmp_path / "activations").iterdir())
    assert names == [f"batch-{i}.jsonl.gz" for i in range(4)]
    assert names == sorted(p.name for p in (tmp_path / "features").iterdir())
    features, found = lines(tmp_path / "features"), lines(tmp_path / "activations")
    with Records.open(run_dir) as records:
        whose = [(f"{layer}-mlp-demo", str(n)) for layer, n in records.sampled_neurons]
        assert [(f["layer"], f["index"]) for f in features] == whose
        of_one = [a for a in found if (a["layer"], a["index"]) == ("0-mlp-demo", "1")]
        strongest = records.strongest(0, 1, "+")
        assert features[1]["maxActApprox"] == strongest[0].value and features[1]["modelId"] == "toy-1"
        heights, middles = (features[1][f"freq_hist_data_bar_{k}"] for k in ("heights", "values"))
        assert len(heights) == len(middles) and middles == sorted(middles)
    assert all(set(a) == KEYS for a in found)
    top = [a for a in of_one if a["binContains"] == -1]
    assert [a["tokens"] for a in top] == [list(w.tokens) for w in strongest]
    assert {a["binMin"] for a in top} == {-1}
    for a in found:
        assert a["maxValue"] == max(a["values"]) == a["values"][a["maxValueTokenIndex"]]
        assert a["minValue"] == min(a["values"]) and len(a["values"]) == len(a["tokens"])
        if a["binContains"] != -1:
            assert a["binMin"] < np.float32(a["maxValue"]) <= np.float32(a["binMax"]) and 0 <= a["binContains"] <= 1


def test_the_same_records_give_the_same_bytes(run_dir, tmp_path):
    for name in "ab":
        export(run_dir, tmp_path / name)
    a, b = ({str(p.relative_to(tmp_path / n)): p.read_bytes() for p in (tmp_path / n).rglob("*.gz")} for n in "ab")
    assert a == b != {}


def test_round_trip(run_dir, tmp_path):
    """Lists come back as they were; texts by interval become the neuron's own sample."""
    export(run_dir, tmp_path / "a", n_intervals=3, per_interval=50)
    import_(tmp_path / "a", tmp_path / "i")
    assert verify_run(tmp_path / "i").faults == []
    with Records.open(run_dir) as before, Records.open(tmp_path / "i") as after:
        assert after.meta.model_name == "toy" and after.sampled_neurons == before.sampled_neurons
        for layer, n in before.sampled_neurons:
            a, b = (
                sorted((w.value, w.tokens, tuple(w.acts.tolist())) for w in r.strongest(layer, n, "+"))
                for r in (before, after)
            )
            assert a == b
        assert len(after.sample(0, 1).windows) > 0 and after.moments(0, 1).mean is None


def write(folder: Path, *records: dict, name: str = "batch-0.jsonl") -> Path:
    path = folder / "activations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def line(index=0, layer="6-mlp", **fields) -> dict:
    return {"modelId": "gpt2-small", "layer": layer, "index": index, "tokens": ["a", "b"], "values": [0.5, 2], **fields}


def test_lines_of_other_tools(tmp_path):
    """Numbers as index, further keys, no bins, and batches that are not packed."""
    write(tmp_path / "n", line(3, id="x", dfaValues=[]), line("3", values=[1, 1], binContains=-1, binMin=-1))
    write(tmp_path / "n", line(11, binContains=0.25), name="batch-10.jsonl")
    write(tmp_path / "n", line(4, binContains=None), name="batch-2.jsonl")
    import_(tmp_path / "n", tmp_path / "r")
    with Records.open(tmp_path / "r") as records:
        assert records.sampled_neurons == [(6, 3), (6, 4), (6, 11)] and records.meta.model_name == "gpt2-small"
        assert [w.value for w in records.strongest(6, 3, "+")] == [2, 1]
        assert len(records.sample(6, 11).windows) == 1 and records.strongest(6, 11, "+") == []


BAD = [
    (line(layer="res"), "layer 'res' is not a number"), (line(values=[1.0]), "2 tokens and 1 values"),
    (line(values=[1.0, "x"]), "field values.1"), (line("../x"), "field index"), ({"tokens": []}, "field modelId"),
    (line(2), "comes after"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "reason"), BAD, ids=[b[1] for b in BAD])
def test_a_bad_line_is_named(tmp_path, record, reason):
    write(tmp_path / "n", line(5), record)
    with pytest.raises(UsageError, match=reason) as e:
        import_(tmp_path / "n", tmp_path / "r")
    assert "\n" not in str(e.value) and ("line 2" in e.value.where or reason == "comes after")


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_truncated_batch(run_dir, tmp_path, cut):
    export(run_dir, tmp_path / "a")
    path = tmp_path / "a" / "activations" / "batch-0.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UsageError, match=r"cannot be read|JSON") as e:
        import_(tmp_path / "a", tmp_path / "r")
    assert "batch-0" in e.value.where
