"""`--mode write_scores` end to end: its files, resuming, too little memory, mistakes, and what the viewers read."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from paths import DEMO_RUN
from short_of_memory import ERRORS

from neuron_signatures.analysis.writes import analyze
from neuron_signatures.models.load import LoadedModel, load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import result_path
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import iter_arrow, read_table
from neuron_signatures.runs.verify import verify_run
from neuron_signatures.tui.layout.facts import write_facts
from neuron_signatures.tui.run.opened_run import notes_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.facts import write_scores_of
from neuron_signatures.views.neurons.writes import writes_doubt, writes_of

MODE = ["--mode", "write_scores", "--device", "cpu"]
PARTIAL = "write_scores_partial.npz"


class Stop(Exception):
    """Stands for a failure of a library."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The small committed run with its results and write scores of every neuron."""
    run_dir = tmp_path_factory.mktemp("writes") / "run"
    shutil.copytree(DEMO_RUN, run_dir)
    call(run_dir, "--quiet")
    return run_dir


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelSpec("demo", dtype="fp32", device="cpu"))


@pytest.fixture
def run_dir(tmp_path) -> Path:
    shutil.copytree(DEMO_RUN, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    return tmp_path / "run"


def call(run_dir: Path, *flags: str) -> None:
    assert main(["--run_dir", str(run_dir), *MODE, *flags]) == 0


def refused(capsys, run_dir: Path, *flags: str) -> str:
    assert main(["--run_dir", str(run_dir), *MODE, *flags]) != 0
    return capsys.readouterr().err


def direct(model: LoadedModel, layer: int, neuron: int) -> np.ndarray:
    """(1 + w_post) ⊙ W_out read by (1 + w_f) ⊙ U: the demo model is a Gemma-2."""
    block = model.hf.model.layers[layer]
    row = block.mlp.down_proj.weight[:, neuron] * (1 + block.post_feedforward_layernorm.weight)
    return (unembedding(model.hf).weight @ (row * (1 + model.hf.model.norm.weight))).numpy()


def test_the_table_has_every_neuron_of_the_model(made, model):
    assert verify_run(made).faults == []
    table = read_table(made, "write_scores")
    n_layers, d_mlp = Run.open(made).manifest.n_layers, Run.open(made).manifest.d_mlp
    assert len(table) == n_layers * d_mlp and set(table["layer"]) == set(range(n_layers))  # more than the run stores
    texts = read_table(made, "write_scores_tokens").set_index("token_id")["token"]
    for layer, neuron in ((0, 3), (4, 178)):
        row = table[(table["layer"] == layer) & (table["neuron"] == neuron)].iloc[0]
        every = direct(model, layer, neuron)
        for side, order in (("promotes", np.argsort(-every)), ("suppresses", np.argsort(every))):
            ids = [row[f"{side}_id_{rank}"] for rank in range(10)]
            assert ids == order[:10].tolist()
            assert [texts[i] for i in ids] == token_strings(model.tokenizer, [int(i) for i in ids])
            np.testing.assert_allclose(
                [row[f"{side}_score_{rank}"] for rank in range(10)], every[order[:10]], rtol=1e-4
            )
        assert row["std"] == pytest.approx(every.std(), rel=1e-4)


def test_the_record_says_what_was_computed(made):
    record = json.loads((made / "analysis" / "write_scores_meta.json").read_text())
    assert record["mode"] == "write_scores" and record["top"] == 10 and record["analysis_dtype"] == "fp32"
    assert record["settings"] == {"write_scores": 10, "layers": list(range(record["run"]["n_layers"]))}
    assert {f["name"] for f in record["files"]} == {"write_scores.parquet", "write_scores_tokens.parquet"}
    with pytest.raises(UsageError, match="not finished"):
        (made / "analysis" / "write_scores_meta.json").rename(made / "analysis" / "aside")
        try:
            result_path(made, "write_scores_tokens.parquet")
        finally:
            (made / "analysis" / "aside").rename(made / "analysis" / "write_scores_meta.json")


def test_one_layer_is_one_part_of_the_file(made):
    """So that a viewer reads one layer for one neuron."""
    file = pq.ParquetFile(made / "analysis" / "write_scores.parquet")
    assert file.num_row_groups == Run.open(made).manifest.n_layers
    read = list(iter_arrow(made, "write_scores", columns=("layer", "neuron"), layer=2))
    assert sum(len(b) for b in read) == Run.open(made).manifest.d_mlp


def test_the_summary_names_neurons_and_tokens(run_dir, capsys):
    call(run_dir, "--layers", "1,3", "--write_scores", "2")
    out = capsys.readouterr().out
    assert "2 layers" in out and out.count("promotes '") == 10 and "write_scores_meta.json" in out
    call(run_dir, "--layers", "1,3", "--write_scores", "2", "--json", "--quiet")
    summary = json.loads(capsys.readouterr().out)
    assert summary["top"] == 2 and len(summary["highest_kurtosis"]) == 10
    table = read_table(run_dir, "write_scores")
    assert set(table["layer"]) == {1, 3} and "promotes_id_2" not in table
    assert summary["highest_kurtosis"][0]["kurtosis"] == pytest.approx(table["kurtosis"].max())


def test_a_forecast_comes_first(run_dir, caplog):
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    call(run_dir)
    m = Run.open(run_dir).manifest
    assert f"forecast: {m.n_layers * m.d_mlp:,} neurons" in caplog.text and "operations in blocks of" in caplog.text


def stopped(run_dir: Path, monkeypatch, after: int, *flags: str) -> None:
    """Run the command until `after` layers are finished."""
    real, done = analyze._Stage.layer, []

    def layer(self, layer, advance):
        if len(done) == after:
            raise Stop
        done.append(layer)
        return real(self, layer, advance)

    with monkeypatch.context() as m, pytest.raises(Stop):
        m.setattr(analyze._Stage, "layer", layer)
        main(["--run_dir", str(run_dir), *MODE, *flags])


def test_a_stopped_command_goes_on(run_dir, made, monkeypatch, caplog):
    stopped(run_dir, monkeypatch, 2)
    assert (run_dir / "analysis" / PARTIAL).is_file() and verify_run(run_dir).faults == []
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    call(run_dir)
    assert "resuming with 2 of" in caplog.text and not (run_dir / "analysis" / PARTIAL).exists()
    for name in ("write_scores.parquet", "write_scores_tokens.parquet"):
        assert (run_dir / "analysis" / name).read_bytes() == (made / "analysis" / name).read_bytes()


def test_layers_of_other_settings_are_computed_again(run_dir, monkeypatch, caplog):
    stopped(run_dir, monkeypatch, 2)
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    call(run_dir, "--write_scores", "3")
    assert "its settings were others" in caplog.text and "resuming" not in caplog.text


@pytest.mark.parametrize("change", [lambda a: a + 10**8, lambda a: a[:-1], lambda a: a.astype(np.float64)])
def test_damaged_layers_are_computed_again(run_dir, made, monkeypatch, caplog, change):
    stopped(run_dir, monkeypatch, 2)
    path = run_dir / "analysis" / PARTIAL
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "L1_ids": change(arrays["L1_ids"])})
    call(run_dir)
    assert "not those of this model; starting again" in caplog.text
    name = "write_scores.parquet"
    assert (run_dir / "analysis" / name).read_bytes() == (made / "analysis" / name).read_bytes()


def short_of_memory(monkeypatch, most: int) -> None:
    real = analyze.neuron_scores

    def scores(directions, *args, **more):
        if len(directions) > most:
            raise ERRORS["cpu"]
        return real(directions, *args, **more)

    monkeypatch.setattr(analyze, "neuron_scores", scores)


def test_blocks_are_halved_where_memory_is_short(run_dir, made, monkeypatch, caplog):
    short_of_memory(monkeypatch, 150)
    call(run_dir)
    halved = [r.getMessage() for r in caplog.records if "out of memory" in r.getMessage()]
    assert halved and halved[-1].endswith("going on with 128") and len(halved) == len(set(halved))
    one, two = read_table(run_dir, "write_scores"), read_table(made, "write_scores")
    scores = [c for c in one.columns if "score" in c]
    np.testing.assert_allclose(one[scores], two[scores], rtol=1e-4, atol=1e-5)


def test_too_little_memory_for_one_neuron_is_one_line(run_dir, monkeypatch, capsys):
    short_of_memory(monkeypatch, 0)
    assert "out of memory in the write scores of one neuron" in refused(capsys, run_dir)
    assert not (run_dir / "analysis" / "write_scores_meta.json").exists()


def test_mistakes(run_dir, made, monkeypatch, capsys):
    assert "has no effect with --mode write_scores" in refused(capsys, run_dir, "--top_k", "3")
    assert "has no effect with --mode write_scores" in refused(capsys, run_dir, "--prompt_id", "seed_prompt")
    assert "--layers" in refused(capsys, run_dir, "--layers", "99")
    monkeypatch.setattr(analyze, "MAX_VALUES", 100_000)
    assert "--write_scores: a table of" in refused(capsys, run_dir, "--write_scores", "20")


def test_another_model_is_refused(run_dir, capsys):
    path = run_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["weights_fingerprint"] = "bytes:0"
    path.write_text(json.dumps(manifest))
    assert "the model is not the one of the dump" in refused(capsys, run_dir)


def test_viewers_show_them_where_no_list_has_any(made, run_dir):
    listed, other = NeuronAt(4, 178), NeuronAt(2, 7)
    assert [w.prompt_id for w in write_scores_of(made, listed)] == ["seed_prompt", "seed_prompt"]
    (found,) = write_scores_of(made, other)
    assert found == writes_of(made, other) and found.prompt_id is None and len(found.promotes) == 10
    assert found.promotes[0].score > found.promotes[-1].score > 0 > found.suppresses[0].score
    of_prompt, own = write_scores_of(made, listed)[0], writes_of(made, listed)
    assert [t.token for t in own.promotes[:5]] == [t.token for t in of_prompt.promotes]
    assert writes_of(made, NeuronAt(0, 10**6)) is None and writes_of(run_dir, other) is None
    assert writes_doubt(Run.open(made)) == ""
    with Run.open(made) as run:
        facts = write_facts(notes_of(run, other), None, sources=True)
    assert any("from the weights" in f.text for f in facts) and "promotes" in {f.label for f in facts}


def test_the_hint_is_a_command_that_works(run_dir):
    spaced = run_dir.rename(run_dir.parent / "a run")
    with Run.open(spaced) as run:
        (hint,) = [m for m in notes_of(run, NeuronAt(1, 0)).missing if "write scores" in m]
    command = shlex.split(hint.split("make them with: ")[1])
    assert command[:3] == ["python", "-m", "neuron_signatures.poc2_analyze_run"]
    assert main([*command[3:], "--device", "cpu", "--quiet"]) == 0 and writes_of(spaced, NeuronAt(1, 0))


@pytest.mark.parametrize("damage", ["column", "tokens", "record", "order"])
def test_damaged_files_are_named(made, tmp_path, damage):
    shutil.copytree(made, tmp_path / "run")
    folder = tmp_path / "run" / "analysis"
    if damage == "record":
        record = json.loads((folder / "write_scores_meta.json").read_text())
        (folder / "write_scores_meta.json").write_text(json.dumps({**record, "top": -1}))
    else:
        path = folder / ("write_scores.parquet" if damage == "column" else "write_scores_tokens.parquet")
        table = pq.read_table(path)
        if damage == "column":
            i = table.column_names.index("promotes_id_0")
            table = table.set_column(i, "promotes_id_0", [["x"] * len(table)])
        else:
            table = table.slice(0, 1) if damage == "tokens" else table.take(list(range(len(table)))[::-1])
        pq.write_table(table, path)
    with Run.open(tmp_path / "run") as run:
        missing = " ".join(notes_of(run, NeuronAt(2, 7)).missing)
    want = {"column": "promotes_id_0 has type", "tokens": "has no token", "record": "field top", "order": "in order"}
    assert want[damage] in missing
