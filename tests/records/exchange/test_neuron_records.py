"""NeuronRecord files: the public keys, round trips, and what cannot be imported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from record_runs import change_array, make_record_run

from neuron_signatures.records.exchange.command import export_folder
from neuron_signatures.records.exchange.export import export_records
from neuron_signatures.records.exchange.imported import import_records
from neuron_signatures.records.exchange.options import ExportOptions, ImportOptions
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.verify import verify_run

KEYS = {
    "neuron_id", "random_sample", "random_sample_by_quantile", "quantile_boundaries", "mean", "variance", "skewness",
    "kurtosis", "most_positive_activation_records",
}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_record_run(tmp_path_factory.mktemp("exchange") / "r")


def export(run_dir: Path, out_dir: Path, **options):
    return export_records(run_dir, ExportOptions("neuron_record", out_dir, **options))


def import_(source: Path, run_dir: Path, **options):
    return import_records(ImportOptions(source, run_dir, "neuron_record", **options))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.json"))}


def write(folder: Path, layer: int, neuron: int, **fields) -> Path:
    """A file of one neuron, with the keys of the public format."""
    record = {
        "neuron_id": {"layer_index": layer, "neuron_index": neuron}, "random_sample": [],
        "random_sample_by_quantile": None, "quantile_boundaries": None, "mean": None, "variance": None,
        "skewness": None, "kurtosis": None, "most_positive_activation_records": [], **fields,
    }  # fmt: skip
    path = folder / "neurons" / str(layer) / f"{neuron}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def text(tokens: str, *acts: float) -> dict:
    return {"tokens": tokens.split(), "activations": list(acts)}


def test_the_keys_and_values_of_an_export(run_dir, tmp_path):
    summary = export(run_dir, tmp_path, n_random=7)
    assert (summary.n_neurons, summary.n_left_out) == (16, 0) and "16 neurons" in summary.lines()[0]
    with Records.open(run_dir) as records:
        assert set(files(tmp_path)) == {f"neurons/{layer}/{n}.json" for layer, n in records.sampled_neurons}
        record = json.loads((tmp_path / "neurons" / "0" / "1.json").read_text())
        assert set(record) == KEYS and record["neuron_id"] == {"layer_index": 0, "neuron_index": 1}
        strongest, found = records.strongest(0, 1, "+"), record["most_positive_activation_records"]
        assert [r["tokens"] for r in found] == [list(w.tokens) for w in strongest]
        for r, w in zip(found, strongest, strict=True):
            assert set(r) == {"tokens", "activations"}
            assert np.array_equal(np.array(r["activations"], np.float32), w.acts)
        assert len(record["random_sample"]) == 7
        m = records.moments(0, 1)
        assert (record["mean"], record["variance"]) == (m.mean, m.variance)
        assert record["kurtosis"] == pytest.approx(m.kurtosis, rel=1e-8)
        assert record["skewness"] == pytest.approx(m.skewness, rel=1e-8)


def test_positions_that_do_not_count_are_exported_with_their_value(tmp_path):
    run = make_record_run(tmp_path / "r", prepend_bos=False, n_documents=12)
    export(run, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "neurons" / "0" / "6.json").read_text())
    with Records.open(run) as records:
        for r, w in zip(record["most_positive_activation_records"], records.strongest(0, 6, "+"), strict=True):
            assert w.counted_from == 1 and np.float32(r["activations"][0]) == w.acts[0]


def test_an_export_covers_all_documents_unless_parts_are_given(run_dir, tmp_path):
    export(run_dir, tmp_path / "all")
    export(run_dir, tmp_path / "explain", parts=("explain",))
    with Records.open(run_dir) as records:
        for name, parts in (("all", ("explain", "select", "report")), ("explain", ("explain",))):
            record = json.loads((tmp_path / name / "neurons" / "0" / "0.json").read_text())
            expected = [list(w.tokens) for w in records.strongest(0, 0, "+", parts=parts)]
            assert [r["tokens"] for r in record["most_positive_activation_records"]] == expected
            assert record["mean"] == records.moments(0, 0, parts=parts).mean


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("prepend_bos", [False, True])
def test_round_trip(tmp_path, named, prepend_bos):
    """Export, import and export again: the same files, ties and dead neurons included."""
    run = make_record_run(tmp_path / "r", prepend_bos=prepend_bos, n_documents=30)
    export(run, tmp_path / "a", with_class_names=named)
    import_(tmp_path / "a", tmp_path / "i", skip_first=0 if prepend_bos else 1)
    assert verify_run(tmp_path / "i").faults == []
    export(tmp_path / "i", tmp_path / "b", with_class_names=named)
    assert files(tmp_path / "a") == files(tmp_path / "b") != {}
    first = json.loads(next(iter(files(tmp_path / "a").values())))
    assert ("dataclass_name" in first) == named
    if named:
        assert first["dataclass_name"] == "NeuronRecord" and first["neuron_id"]["dataclass_name"] == "NeuronId"
        assert first["random_sample"][0]["dataclass_name"] == "ActivationRecord"


def test_round_trip_of_rows_that_differ_from_the_lists(tmp_path):
    """The second pass rounds differently: the order of an export is that of the activations in it."""
    run = make_record_run(tmp_path / "r", n_documents=30)
    noise = np.random.default_rng(0)
    change_array(run, "rows.safetensors", "acts", lambda a: (a * noise.normal(1, 1e-2, len(a))).astype(np.float32))
    export(run, tmp_path / "a")
    import_(tmp_path / "a", tmp_path / "i")
    export(tmp_path / "i", tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    record = json.loads((tmp_path / "a" / "neurons" / "0" / "6.json").read_text())
    peaks = [max(r["activations"]) for r in record["most_positive_activation_records"]]
    assert peaks == sorted(peaks, reverse=True)
    with Records.open(run) as records:
        assert peaks != [w.value for w in records.strongest(0, 6, "+")]


def test_what_an_import_holds(tmp_path):
    top = [text("a b c", 0, 5, 1), text("x", 3), text("a b", 1, 2)]
    write(tmp_path / "f", 3, 1, most_positive_activation_records=top, random_sample=[text("a b", 1, 2), text("z", -9)],
          mean=0.5, variance=4.0, skewness=1.5, kurtosis=6.0, random_sample_by_quantile=[[text("q", 1)]])  # fmt: skip
    write(tmp_path / "f", 3, 7, most_positive_activation_records=[text("x", 1)], mean=1.0, variance=0.25)
    summary = import_(tmp_path / "f", tmp_path / "r", model_name="m")
    assert (summary.n_neurons, summary.n_windows, summary.n_rows, summary.n_by_quantile) == (2, 4, 5, 1)
    assert any("explain" in line for line in summary.lines())
    with Records.open(tmp_path / "r") as records:
        assert records.layers == (3,) and records.d_mlp == 8 and records.sampled_neurons == [(3, 1), (3, 7)]
        found = records.strongest(3, 1, "+", parts=("explain",))
        assert [("".join(w.tokens), w.pos, w.value) for w in found] == [("abc", 1, 5), ("x", 0, 3), ("ab", 1, 2)]
        assert records.strongest(3, 1, "+", parts=("select", "report")) == []
        m = records.moments(3, 1)
        assert (m.count, m.mean, m.variance, m.skewness, m.kurtosis) == (7, 0.5, 4.0, 1.5, 6.0)
        unknown = records.moments(3, 7)
        assert (unknown.mean, unknown.std, unknown.skewness, unknown.kurtosis) == (1.0, 0.5, None, None)
        assert records.moments(3, 0).count == 0 and records.histogram(3, 1).n == 0
        assert sorted("".join(w.tokens) for w in records.random_windows(3, 1, 9, seed=0)) == ["ab", "z"]
        assert records.often(3, 1, "+").tokens == ("b", "x") and records.often(3, 1, "+").share == pytest.approx(2 / 3)
        assert records.neurons()["state"].to_pylist() == [None, "alive", None, None, None, None, None, "alive"]


def test_a_text_with_other_activations_stays_a_text_of_its_own(tmp_path):
    twice = [text("a b", 1, 5), text("a b", 1, 4)]
    write(tmp_path / "f", 0, 0, most_positive_activation_records=twice, random_sample=[text("a b", 0, 0)])
    import_(tmp_path / "f", tmp_path / "r")
    with Records.open(tmp_path / "r") as records:
        assert records.corpus.n_windows == 3
        assert [w.acts.tolist() for w in records.strongest(0, 0, "+")] == [[1, 5], [1, 4]]
        assert [w.acts.tolist() for w in records.random_windows(0, 0, 5, seed=0)] == [[0, 0]]


def test_hostile_tokens(tmp_path):
    tokens = ["\ud800", "\x1b]0;x\x07", "<script>", "=1", "\x00", ""]
    record = {"tokens": tokens, "activations": [1.0] * 6}
    write(tmp_path / "f", 0, 0, most_positive_activation_records=[record])
    import_(tmp_path / "f", tmp_path / "r")
    with Records.open(tmp_path / "r") as records:
        assert records.strongest(0, 0, "+")[0].tokens == ("\\ud800", *tokens[1:])


BAD = [
    ({"mean": "x"}, "field mean"),
    ({"neuron_id": {"layer_index": -1, "neuron_index": 0}}, "field neuron_id.layer_index"),
    ({"neuron_id": {"layer_index": 0, "neuron_index": 5}}, "file's name"),
    ({"variance": -1.0}, "field variance"),
    ({"most_positive_activation_records": [text("a b", 1)]}, "records.0: .*2 tokens and 1 activations"),
    ({"most_positive_activation_records": [text("a", 1), {"tokens": [3], "activations": [1]}]}, "records.1.tokens.0"),
    ({"most_positive_activation_records": [text("a", 1e60)]}, "activations.0"),
    ({"random_sample": [{"tokens": [], "activations": []}]}, "random_sample.0.tokens"),
    ({"random_sample": {}}, "field random_sample"),
]


@pytest.mark.parametrize(("fields", "reason"), BAD)
def test_a_bad_file_is_one_line_with_file_and_field(tmp_path, fields, reason):
    write(tmp_path / "f", 0, 0, most_positive_activation_records=[text("a", 1)])
    path = write(tmp_path / "f", 0, 1, **fields)
    with pytest.raises(UsageError, match=reason) as e:
        import_(tmp_path / "f", tmp_path / "r")
    assert e.value.where == str(path) and "\n" not in str(e.value) and not (tmp_path / "r").exists()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b'{"mean": NaN}', b"[" * 100_000])
def test_a_file_that_is_no_record(tmp_path, raw):
    path = write(tmp_path / "f", 0, 0)
    path.write_bytes(raw)
    with pytest.raises(UsageError) as e:
        import_(tmp_path / "f", tmp_path / "r")
    assert e.value.where == str(path)


def test_folders_that_cannot_be_used(run_dir, tmp_path):
    with pytest.raises(UsageError, match="no records"):
        import_(tmp_path, tmp_path / "r")
    with pytest.raises(UsageError, match="cannot be read"):
        import_(tmp_path / "nowhere", tmp_path / "r")
    export(run_dir, tmp_path / "out")
    with pytest.raises(UsageError, match="holds an export"):
        export(run_dir, tmp_path / "out")
    export(run_dir, tmp_path / "out", overwrite=True)
    with pytest.raises(UsageError, match="not an empty folder"):
        import_(tmp_path / "out", tmp_path)
    with pytest.raises(UsageError, match="d_mlp is 3"):
        import_(tmp_path / "out", tmp_path / "r", d_mlp=3)
    with pytest.raises(UsageError, match="layer 1 of 1"):
        import_(tmp_path / "out", tmp_path / "r", n_layers=1)
    import_(tmp_path / "out", tmp_path / "r", d_mlp=100, n_layers=4)
    with Records.open(tmp_path / "r") as records:
        assert (records.meta.n_layers, records.d_mlp) == (4, 100)


def test_the_export_after_an_extraction(tmp_path):
    """The run's own folder may be the one of the export, and a second one replaces the first."""
    run = make_record_run(tmp_path / "r", n_documents=12)
    assert export_folder(run, run) == export_folder(run, run)
    fields = export_folder(run, run).fields()
    assert json.loads(json.dumps(fields))["n_neurons"] == len(files(run / "neurons")) == 16
    assert verify_run(run).faults == []
    fields = import_(run, tmp_path / "i").fields()
    assert json.loads(json.dumps(fields))["n_neurons"] == 16


def test_neurons_without_rows(run_dir, tmp_path):
    summary = export(run_dir, tmp_path, neurons=((0, 0), (0, 2)))
    assert (summary.n_neurons, summary.n_left_out) == (1, 1) and "left out" in summary.lines()[1]
    with pytest.raises(UsageError, match="none of these"):
        export(run_dir, tmp_path / "x", neurons=((0, 2),))
    run = make_record_run(tmp_path / "r", with_sample=False, n_documents=6)
    with pytest.raises(UsageError, match="no neuron with stored rows"):
        export(run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_texts_can_be_split_into_parts(tmp_path):
    """By a hash of the text: the same text is of the same part for every neuron, and with other activations too."""
    source = tmp_path / "f"
    top = [text(f"w{i} x", i, 0) for i in range(200, 0, -1)]
    sample = [text(f"w{i} x", i + 0.5, 0) for i in range(1, 60)]
    write(source, 0, 0, most_positive_activation_records=top, random_sample=sample, mean=1.0, variance=2.0)
    write(source, 0, 1, most_positive_activation_records=top[::-1])
    summary = import_(source, tmp_path / "r", parts=(50, 20, 30))
    assert verify_run(tmp_path / "r").faults == []
    assert summary.n_windows == sum(summary.n_by_part.values()) == 259
    assert 90 < summary.n_by_part["explain"] < 170 and 25 < summary.n_by_part["select"] < 80
    assert any(f"{summary.n_by_part['report']} in report" in line for line in summary.lines())
    with Records.open(tmp_path / "r") as records:
        meta = records.corpus.meta
        assert meta.parts == {"explain": 50, "select": 20, "report": 30}
        assert meta.documents_by_part == summary.n_by_part
        assert meta.counted_by_part == {p: 2 * n for p, n in summary.n_by_part.items()}
        assert records.moments(0, 0).mean == 1.0
        assert [w.value for w in records.strongest(0, 0, "+")] == list(range(200, 0, -1))
        for part in ("explain", "select", "report"):
            own, others = (records.strongest(0, n, "+", parts=(part,)) for n in (0, 1))
            assert {w.part for w in own} == {part} and {w.tokens for w in own} == {w.tokens for w in others}
            in_sample = records.random_windows(0, 0, 99, parts=(part,), seed=0)
            assert {w.tokens for w in in_sample} <= {w.tokens for w in own} and in_sample
        strongest = records.strongest(0, 0, "+", parts=("explain",))
        assert records.often(0, 0, "+").tokens[0] == strongest[0].tokens[0]
    with pytest.raises(UsageError, match="percentages"):
        import_(source, tmp_path / "x", parts=(50, 20, 20))
