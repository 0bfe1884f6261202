"""Stage 3 end to end on the demo model: effects of every kind, and swaps of one pair and of many."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from attribution_cases import loaded
from intervention_cases import OAKLAND, plain_logits
from intervention_runs import argv_of, demo_run, files

from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.poc3_intervene import main
from neuron_signatures.runs.__main__ import main as runs
from neuron_signatures.runs.intervention_records import EffectRecord, SwapRecord
from neuron_signatures.runs.results import list_interventions

TWO = ["--neurons", "L3N508,L4N178"]
ENDS = ("_meta.json", ".csv", ".json", ".parquet", ".png")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return demo_run(tmp_path_factory.mktemp("poc3"))


@pytest.fixture
def run_dir(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("interventions"))
    return tmp_path / "run"


@pytest.fixture(scope="module")
def swapped(made) -> Path:
    """A run with one swap."""
    run_dir = made.parent / "swapped"
    shutil.copytree(made, run_dir)
    assert main(argv_of(run_dir, "--mode", "swap", "--prompt_id", "seed_prompt", "--source_text", OAKLAND)) == 0
    return run_dir


@pytest.fixture
def effect(made, run_dir, capsys):
    """Runs an effect and returns its JSON summary."""

    def call(*flags: str) -> dict:
        capsys.readouterr()
        assert main(argv_of(run_dir, "--prompt_id", "seed_prompt", "--json", *flags)) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out, parse_constant=pytest.fail)

    return call


def record_of(run_dir: Path, stem: str) -> dict:
    return json.loads((run_dir / "interventions" / f"{stem}.json").read_text(), parse_constant=pytest.fail)


def assert_finished(run_dir: Path, stem: str, capsys) -> None:
    """All files, the stage record the newest of them, with checksums that `verify` accepts."""
    names = files(run_dir)
    assert {f"{stem}{end}" for end in ENDS} <= set(names) and not [n for n in names if "partial" in n]
    folder = run_dir / "interventions"
    times = {end: (folder / f"{stem}{end}").stat().st_mtime_ns for end in ENDS}
    assert max(times, key=lambda end: times[end]) == "_meta.json"
    assert stem in list_interventions(run_dir)
    meta = json.loads((folder / f"{stem}_meta.json").read_text())
    listed = {f["name"].split("/")[-1] for f in meta["files"]}
    assert listed == {f"{stem}{end}" for end in ENDS if end != "_meta.json"}
    capsys.readouterr()
    assert runs(["verify", str(run_dir)]) == 0
    with (folder / f"{stem}.json").open("a") as f:
        f.write(" ")
    assert runs(["verify", str(run_dir)]) != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "kind", "value"),
    [
        (["--edit", "ablate"], "ablate", "set to mean over 219 tokens"),
        pytest.param(["--edit", "ablate", "--reference", "zero"], "ablate", "set to zero", marks=pytest.mark.slow),
        (["--edit", "flip"], "flip", "sign reversed"),
        (["--edit", "set", "--value", "-2.5"], "set", "set to -2.5"),
        (["--edit", "scale", "--value", "3"], "scale", "times 3"),
        (["--edit", "add", "--value", "4"], "add", "+4"),
        (["--edit", "patch", "--source_text", OAKLAND], "patch", "set to their values in the source prompt"),
    ],
)
def test_every_edit(run_dir, effect, capsys, flags, kind, value):
    """The set against the same edit by hand in a plain forward pass; each neuron's row against the cells."""
    summary = effect(*TWO, *flags)
    stem = summary.pop("result")
    record = EffectRecord.model_validate_json((run_dir / "interventions" / f"{stem}.json").read_text())
    assert record.model_dump(mode="json") == {**summary, "created_at_utc": record.created_at_utc}
    assert record.kind == kind and record.value.startswith(value) and record.positions == [8]
    ids = [record.prompt.token_ids]

    def by_hand(layer):
        def edit(acts):
            for cell in record.cells:
                if cell.layer == layer:
                    assert float(acts[0, cell.pos, cell.neuron]) == pytest.approx(cell.act, abs=1e-3) or layer == 4
                    acts[0, cell.pos, cell.neuron] = new_value(
                        kind, cell, float(acts[0, cell.pos, cell.neuron]), summary
                    )
            return acts

        return edit

    logits = uncapped(plain_logits(loaded("demo").hf, ids, {3: by_hand(3), 4: by_hand(4)})[0, 8])
    clean = uncapped(plain_logits(loaded("demo").hf, ids)[0, 8])
    target = record.target.token.token_id
    assert record.clean.difference == pytest.approx(float(clean[target]), abs=2e-3)
    assert record.as_set.difference == pytest.approx(float(logits[target]), abs=2e-3)
    assert record.as_set.difference != record.clean.difference
    assert record.controls.random.n == 100 and record.controls.two_sided
    assert record.side_effects.n_prompts == 2
    table = pd.read_parquet(run_dir / "interventions" / f"{stem}.parquet")
    assert sorted(table.neuron) == [178, 508] and table.p.between(0, 1).all()
    for row in table.itertuples():
        (cell,) = [c for c in record.cells if c.neuron == row.neuron]
        assert (row.act, row.value) == pytest.approx((cell.act, cell.value))
    assert_finished(run_dir, stem, capsys)


def new_value(kind: str, cell, now: float, record: dict) -> float:
    return {"flip": -now, "scale": 3 * now, "add": now + 4}.get(kind, cell.value)


def uncapped(logits: torch.Tensor) -> torch.Tensor:
    cap = loaded("demo").hf.config.final_logit_softcapping
    return logits if cap is None else cap * torch.atanh(logits / cap)


@pytest.mark.parametrize(
    "flags",
    [
        ["--edit", "patch", "--source_prompt", "seed_prompt", "--positions", "all"],
        ["--edit", "patch", "--source_prompt", "seed_prompt", "--target_mode", "last_token"],
        ["--edit", "add", "--value", "0"],
        ["--edit", "scale", "--value", "1", "--function", "logprob"],
    ],
)
def test_edits_that_change_no_value_change_nothing_at_all(run_dir, effect, flags):
    summary = effect(*TWO, *flags)
    assert summary["controls"] is None and "No effect" not in summary["verdict"]
    assert {k: v for k, v in summary["as_set"].items() if k != "kl"} == {
        k: v for k, v in summary["clean"].items() if k != "kl"
    }
    assert summary["as_set"]["kl"] == 0
    table = pd.read_parquet(run_dir / "interventions" / f"{summary['result']}.parquet")
    assert (table[["effect", "difference", "logprob", "probability", "kl"]] == 0).all(axis=None)
    assert (table.rank_before == table.rank_after).all() and table.p.isna().all()
    assert summary["side_effects"] is None and "changes no activation" in summary["verdict"]


def test_poles_lists_and_all_positions(run_dir, effect):
    """A pole of an activation of the other sign has no cell; `--all` is a screening."""
    from_file = run_dir / "n.json"
    from_file.write_text('["L3N508+", "L4N178-", "L2N9"]')
    kept = effect("--neurons_json", str(from_file), "--edit", "flip", "--positions", "3,last", "--n_random", "100")
    signs = {(c["layer"], c["neuron"]): c["act"] > 0 for c in kept["cells"]}
    assert signs.get((3, 508), True) and not signs.get((4, 178), False) and (2, 9) in signs
    assert kept["positions"] == [3, 8]
    everywhere = effect(*TWO, "--positions", "all")
    assert everywhere["positions"] == list(range(1, 9)) and everywhere["controls"]["scrambled"]["n"] > 0


@pytest.mark.slow
def test_a_foil(run_dir, effect):
    summary = effect(*TWO, "--target_token", " Austin", "--foil_token", " Sacramento", "--edit", "flip")
    assert "tok704_foil712" in summary["result"]
    answers = {a["token"]: a["logit"] for a in summary["clean"]["top"]}
    assert summary["clean"]["difference"] == pytest.approx(answers[" Austin"] - answers[" Sacramento"])


@pytest.mark.slow
def test_a_screening_tests_every_neuron_once(run_dir, effect):
    """Against the effects of the metric `ablation`, which stage 2 measures."""
    summary = effect("--all", "--edit", "ablate", "--reference", "zero")
    assert summary["as_set"] is None and summary["controls"] is None and summary["cells"] == []
    table = pd.read_parquet(run_dir / "interventions" / f"{summary['result']}.parquet")
    assert len(table) == 5 * 512 and (table.effect.abs().diff().dropna() <= 0).all()
    flags = [
        "--mode",
        "influence",
        "--prompt_id",
        "seed_prompt",
        "--influence_metric",
        "ablation",
        "--reference",
        "zero",
    ]
    assert analyze(["--run_dir", str(run_dir), *flags, "--target_mode", "top1_logit", "--quiet"]) == 0
    (stem,) = [p.stem for p in (run_dir / "analysis").glob("influence_*.parquet") if "effects" not in p.stem]
    metric = pd.read_parquet(run_dir / "analysis" / f"{stem}.parquet").set_index(["layer", "neuron"]).influence
    effects = table.set_index(["layer", "neuron"]).effect
    np.testing.assert_allclose(-effects.reindex(metric.index), metric, atol=1e-4)


def test_text_summaries_and_a_forecast_that_writes_nothing(made, run_dir, capsys):
    assert main(argv_of(run_dir, "--prompt_id", "seed_prompt", *TWO, "--dry_run")) == 0
    assert main(argv_of(run_dir, "--mode", "swap", "--prompt_id", "seed_prompt", "--source_text", OAKLAND,
                        "--dry_run")) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("forecast: ") == out.count("\n") == 2 and not (run_dir / "interventions").exists()
    assert main(argv_of(run_dir, "--prompt_id", "seed_prompt", *TWO)) == 0
    out = capsys.readouterr().out
    assert "L3N508" in out and "100 random sets" in out and "result   " in out and "written  " in out


def test_a_swap_and_its_files(swapped, capsys, tmp_path):
    (stem,) = list_interventions(swapped)
    raw = record_of(swapped, stem)
    (pair,) = SwapRecord.model_validate(raw).pairs
    assert (pair.destination.answer, pair.source.answer) == (" Austin", " Sacramento")
    assert pair.roles == {"entity": (7, 7), "last": (8, 8)} and pair.n_candidates == 5 * 2 * 512
    assert pair.smallest_k == pair.k == len(pair.cells) == len(pair.edits)
    assert pair.top_before[0].token == " Austin" and pair.top_after[0].token == " Sacramento"
    assert pair.after[0].rank == 0 and pair.after[1].rank >= 1
    before, after = pair.curve[0], pair.curve[pair.k]
    assert before.difference == pytest.approx(pair.difference_before, abs=1e-3)
    assert after.difference == pytest.approx(pair.difference_after, abs=1e-3)
    assert pair.curve[pair.k - 1].source_rank > 0 and after.source_rank == 0
    assert pair.predicted == pytest.approx(sum(c.predicted for c in pair.cells), abs=1e-4)
    assert pair.controls.random.n == 100 and pair.controls.random.n_flipped == 0
    assert [b.k for b in pair.band][:3] == [1, 2, 4] and pair.band[-1].k == len(pair.curve) - 1
    table = pd.read_parquet(swapped / "interventions" / f"{stem}.parquet")
    assert table.k.tolist() == list(range(1, pair.k + 1)) and table.source_rank.iloc[-1] == 0
    copy = tmp_path / "run"
    shutil.copytree(swapped, copy, copy_function=shutil.copy2)
    assert_finished(copy, stem, capsys)


def test_the_edits_of_the_record_reproduce_its_logits_with_plain_hooks(swapped):
    """From the JSON alone: token ids, edits and answers; the demo model through transformers only."""
    (pair,) = record_of(swapped, list_interventions(swapped)[0])["pairs"]
    by_layer: dict[int, list[dict]] = {}
    for edit in pair["edits"]:
        by_layer.setdefault(edit["layer"], []).append(edit)

    def setting_of(some):
        def edit(acts):
            for one in some:
                acts[0, one["pos"], one["neuron"]] = one["value"]
            return acts

        return edit

    hf, ids = loaded("demo").hf, [pair["destination"]["token_ids"]]
    answers = [pair["source"]["answer_id"], pair["destination"]["answer_id"]]
    patched = plain_logits(hf, ids, {layer: setting_of(some) for layer, some in by_layer.items()})
    for logits, recorded in ((plain_logits(hf, ids), pair["before"]), (patched, pair["after"])):
        found = uncapped(logits[0, pair["target_pos"]])
        assert [a["token_id"] for a in recorded] == answers
        assert [float(found[i]) for i in answers] == pytest.approx([a["logit"] for a in recorded], abs=2e-3)
        p = logits[0, pair["target_pos"]].softmax(-1)
        assert [float(p[i]) for i in answers] == pytest.approx([a["probability"] for a in recorded], abs=1e-3)
    assert int(patched[0, pair["target_pos"]].argmax()) == answers[0]
    source = plain_logits(hf, [pair["source"]["token_ids"]])[0, -1]
    assert int(source.argmax()) == answers[0]


def test_the_wrong_source_raises_its_own_answer(swapped):
    (pair,) = record_of(swapped, list_interventions(swapped)[0])["pairs"]
    wrong = pair["controls"]["wrong_source"]
    assert wrong["answer"] not in (" Austin", " Sacramento") and wrong["k"] == pair["k"]
    assert wrong["own_logit"] > wrong["source_logit"] and wrong["own_logit"] > 0


@pytest.mark.slow
def test_a_swap_between_prompts_of_different_lengths_with_given_answers(made, run_dir, capsys):
    """The first prompt of the run that differs in length; positions are aligned from the end."""
    source = "The capital of the state containing the city of Oakland is"
    flags = ["--mode", "swap", "--prompt_id", "seed_prompt", "--source_text", source, "--positions", "last", "--max_k",
             "20", "--block", "10", "--target_token", " Sacramento", "--foil_token", " Austin", "--json"]  # fmt: skip
    assert main(argv_of(run_dir, *flags)) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    n = len(pair["source"]["token_ids"])
    assert pair["roles"] == {"last": [8, n - 1]} and n > 9
    assert {e["pos"] for e in pair["edits"]} == {8} and len(pair["curve"]) == 21


TEXT = "The capital of the state containing {} is"


@pytest.mark.slow
def test_pairs_of_a_file_and_one_list_for_held_out_pairs(made, run_dir, tmp_path, capsys):
    """A pair with the same answer twice is left out."""
    pairs = [("Dallas", "Oakland"), ("Dallas", "Houston"), ("Oakland", "Dallas")]
    for name, some in (("own", pairs), ("held", [("Dallas", "Chicago"), ("Tucson", "Boulder")])):
        listed = [{"destination": TEXT.format(a), "source": TEXT.format(b), "id": f"{a} {b}"} for a, b in some]
        (tmp_path / f"{name}.json").write_text(json.dumps({"pairs": listed}))
    flags = ["--mode", "swap", "--pairs_json", str(tmp_path / "own.json"), "--held_out", str(tmp_path / "held.json")]
    assert main(argv_of(run_dir, *flags, "--max_k", "20", "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    record = SwapRecord.model_validate(record_of(run_dir, summary["result"]))
    assert [p.id for p in record.pairs] == ["Dallas Oakland", "Oakland Dallas"] and record.summary.n_pairs == 2
    assert "Dallas Houston is left out: the answer to both prompts is" in record.warnings[0]
    assert "1 held-out pairs have a prompt of the selection pairs" in record.warnings[1]
    assert_shared(record, n_selection=2, n_held_out=1)
    assert_finished(run_dir, summary["result"], capsys)


@pytest.mark.slow
def test_pairs_of_a_template_and_a_held_out_share(made, run_dir, tmp_path, capsys):
    """An entity whose answer the model does not say is left out."""
    entities = {"Dallas": " Austin", "Oakland": " Sacramento", "Nampa": " Boise", "Chicago": " Austin",
                "Boulder": " Denver"}  # fmt: skip
    content = {"template": TEXT, "entities": list(entities), "answers": list(entities.values())}
    (tmp_path / "pairs.json").write_text(json.dumps(content))
    flags = ["--mode", "swap", "--pairs_json", str(tmp_path / "pairs.json"), "--held_out", "0.5", "--max_k", "30"]
    assert main(argv_of(run_dir, *flags, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    record = SwapRecord.model_validate(record_of(run_dir, summary["result"]))
    assert len(record.pairs) == 12 and "Chicago is left out" in record.warnings[0]
    assert record.summary.n_flipped == sum(p.smallest_k is not None for p in record.pairs) > 6
    assert_shared(record, n_selection=2, n_held_out=2)


def assert_shared(record: SwapRecord, *, n_selection: int, n_held_out: int) -> None:
    shared = record.shared
    assert (shared.n_selection, shared.n_held_out) == (n_selection, n_held_out)
    assert len(shared.held_out) == len(shared.selection) == len(shared.cells)
    assert shared.chosen_k == len(shared.cells)
    assert shared.fewest_k == 1 + int(np.argmax([r.share for r in shared.selection]))
    assert all(r.low <= r.share <= r.high for r in [*shared.held_out, *shared.selection])
    first = [next((i + 1 for i, r in enumerate(shared.held_out) if r.share > 0), None)]
    assert n_held_out > 1 or shared.held_out_smallest_k == first
    assert shared.held_out_random[0].k == shared.chosen_k
    assert f"of {n_held_out} held-out pairs" in record.verdict


@pytest.mark.slow
def test_the_documented_swap_flips_and_no_random_set_does(made, run_dir):
    """With every default: 1,000 random sets, all neutral prompts."""
    flags = ["--mode", "swap", "--prompt_id", "seed_prompt", "--source_text", OAKLAND, "--quiet"]
    assert main(["--run_dir", str(run_dir), *flags]) == 0
    (stem,) = list_interventions(run_dir)
    (pair,) = SwapRecord.model_validate(record_of(run_dir, stem)).pairs
    assert pair.smallest_k is not None and pair.smallest_k <= 20
    assert pair.top_after[0].token == " Sacramento" == pair.source.answer
    random, wrong = pair.controls.random, pair.controls.wrong_source
    assert random.n == 1000 and random.p <= 0.001 and random.n_flipped == 0
    assert wrong.answer not in (" Austin", " Sacramento")
    assert wrong.own_logit > wrong.source_logit and wrong.own_logit > 0 and wrong.own_smallest_k is not None
    assert pair.side_effects.n_prompts >= 50 and pair.side_effects.random.n_sets == 20
