"""References: which one a command has, what it contains, and which ones are refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_runs import BOS, make_run, random_acts
from record_runs import change_array, change_record, make_record_run, synthetic
from tiny_models import D_MLP, N_LAYERS, tiny_model_dir

from neuron_signatures.analysis.attribution.corpus_moments import corpus_moments
from neuron_signatures.analysis.attribution.metrics import attribution
from neuron_signatures.analysis.attribution.reference import Reference, choose_reference, reference_at, run_mean
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

CPU = ModelOverrides(device="cpu")
TEXTS = {"seed": "the capital of Dallas", "twin": "the capital of Austin", "long": "Austin is in the capital of an"}


def run_of(path: Path, n_counted: int, *, d_mlp: int = 4, seed: int = 0) -> Run:
    """A run of two prompts with `n_counted` tokens after their first positions, which are 1e6 everywhere."""
    sizes = {"a": 3, "b-1": n_counted - 3}
    prompts = {k: [BOS, *(f" w{i}" for i in range(n))] for k, n in sizes.items()}
    acts = random_acts(prompts, n_layers=2, d_mlp=d_mlp, seed=seed)
    for values in acts.values():
        values[:, 0] = 1e6
    return make_run(path, prompts, acts)


def test_the_mean_leaves_out_every_first_position(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", 70)
    got = run_mean(run)
    want = np.concatenate([run.acts(p)[:, 1:] for p in run.prompts], axis=1).mean(1, dtype=np.float64)
    assert got.n_tokens == 70 and got.values.dtype == torch.float32
    np.testing.assert_allclose(got.values, want, atol=1e-6)


def test_values_that_are_not_finite_are_left_out_of_the_mean(tmp_path: Path) -> None:
    prompts = {"a": [BOS, " x", " y", " z"]}
    acts = random_acts(prompts, n_layers=1, d_mlp=3)
    acts["a"][0, 1, 0], acts["a"][0, 1:, 1] = np.inf, np.nan
    got = run_mean(make_run(tmp_path / "run", prompts, acts)).values[0]
    assert float(got[0]) == pytest.approx(acts["a"][0, 2:, 0].mean()) and torch.isnan(got[1])


def test_the_default_is_the_mean_of_a_run_with_enough_tokens(tmp_path: Path) -> None:
    choice = choose_reference(run_of(tmp_path / "run", 64), None, min_tokens=64)
    assert (choice.name, choice.label, choice.centred_on, choice.warnings) == ("mean", "mean", "mean", ())


def test_the_default_is_zero_in_a_run_with_fewer_tokens(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", 63)
    choice = choose_reference(run, None, min_tokens=64)
    assert (choice.name, choice.centred_on, choice.mean) == ("zero", None, None)
    (warning,) = choice.warnings
    assert "63 tokens" in warning and "fewer than 64" in warning and "--reference run:DIR" in warning
    assert choose_reference(run, None, min_tokens=63).name == "mean"


def test_a_mean_over_too_few_tokens_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", 63)
    with pytest.raises(UsageError, match=r"63 tokens without first positions; a mean needs 64 \(--min_mean_tokens\)"):
        choose_reference(run, "mean", min_tokens=64)
    with pytest.raises(UsageError, match="--min_mean_tokens"):
        choose_reference(run_of(tmp_path / "large", 70), f"run:{run.path}", min_tokens=64)


def test_zero_is_centred_on_the_mean_if_there_is_one(tmp_path: Path) -> None:
    large, small = run_of(tmp_path / "large", 64), run_of(tmp_path / "small", 63)
    assert choose_reference(large, "zero", min_tokens=64).centred_on == "mean"
    choice = choose_reference(small, "zero", min_tokens=64)
    assert choice.centred_on is None and choice.warnings == ()


def test_the_mean_of_another_run_of_the_model(tmp_path: Path) -> None:
    here, large = run_of(tmp_path / "here", 5), run_of(tmp_path / "large", 90, seed=1)
    choice = choose_reference(here, f"run:{large.path}", min_tokens=64)
    assert choice.name == choice.centred_on == "run:large" and choice.label.startswith("run-large-")
    assert choice.mean is not None and choice.mean.n_tokens == 90 and choice.mean.run["n_tokens"] == 92
    assert torch.equal(choice.mean.values, run_mean(large).values)


def test_runs_of_one_folder_name_have_different_labels(tmp_path: Path) -> None:
    here = run_of(tmp_path / "here", 5)
    runs = [run_of(tmp_path / parent / "large", n) for parent, n in (("a", 90), ("b", 91))]
    first, second = (choose_reference(here, f"run:{r.path}", min_tokens=64) for r in runs)
    assert first.name == second.name and first.label != second.label
    assert choose_reference(here, f"run:{runs[0].path}/../large/", min_tokens=64).label == first.label


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    here = run_of(tmp_path / "here", 5)
    wide = run_of(tmp_path / "wide", 90, d_mlp=5)
    with pytest.raises(UsageError, match="is a run of another model: d_mlp is 5, here 4"):
        choose_reference(here, f"run:{wide.path}", min_tokens=64)
    other = run_of(tmp_path / "other", 90)
    manifest = json.loads((other.path / "manifest.json").read_text())
    (other.path / "manifest.json").write_text(json.dumps({**manifest, "tokenizer_sha256": "1" * 64}))
    with pytest.raises(UsageError, match="another model: tokenizer_sha256 is 1"):
        choose_reference(here, f"run:{other.path}", min_tokens=64)


def test_a_prompt_has_one_name(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", 5)
    by_id, by_index = (choose_reference(run, f"prompt:{which}", min_tokens=64) for which in ("b-1", "1"))
    assert by_id == by_index and (by_id.name, by_id.label) == ("prompt:b-1", "prompt-b-1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' is none of mean, zero, prompt:ID, run:DIR or records"),
        ("median", "'median' is none of"),
        ("Zero", "'Zero' is none of"),
        ("run:", "'run:' is none of"),
        ("prompt:nobody", "no prompt 'nobody'"),
        ("records", "the run has no records of a corpus. Make them with `python -m neuron_signatures.poc4"),
    ],
)
def test_other_references_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_reference(run_of(tmp_path / "run", 70), name, min_tokens=64)
    assert reason in caught.value.line()


def recorded(path: Path, n_counted: int = 5) -> Run:
    """A run with records of its two layers."""
    run = run_of(path, n_counted)
    make_record_run(path, with_sample=False)
    return run


def test_records_are_the_mean_over_the_corpus_part_explain(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    choice = choose_reference(run, "records", min_tokens=64)
    assert choice.name == choice.centred_on == "records" and choice.mean is not None and choice.mean.records is not None
    windows = synthetic([0, 1], 4).windows
    for layer in (0, 1):
        acts = np.concatenate([w.acts[w.counted_from :] for w in windows[layer] if PARTS[w.part] == "explain"])
        np.testing.assert_allclose(choice.mean.values[layer], acts.mean(0, dtype=np.float64), rtol=1e-6, atol=1e-9)
        assert choice.mean.n_tokens == len(acts)
    with Records.open(run.path) as records:
        stored = [records.layer_moments(layer, parts=["explain"]).mean for layer in (0, 1)]
        assert choice.mean.records.corpus_sha256 == records.meta.corpus_sha256
    np.testing.assert_array_equal(choice.mean.values, np.stack(stored).astype(np.float32))
    assert choice.label == f"records-{choice.mean.records.corpus_sha256[:8]}" and choice.mean.run is None
    # the run's own mean stays the default, and there are no means over prompts of the corpus
    assert choose_reference(run, None, min_tokens=5).name == "mean" and len(choice.mean.resampled) == 0


def test_moments_of_some_layers_have_the_spread_of_the_corpus(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    found = corpus_moments(run, [1])
    acts = [w.acts[w.counted_from :] for w in synthetic([0, 1], 4).windows[1] if PARTS[w.part] == "explain"]
    np.testing.assert_allclose(found.std[0], np.concatenate(acts).std(0, dtype=np.float64), rtol=1e-6, atol=1e-9)
    assert found.mean.shape == (1, 4)


def test_a_run_of_few_tokens_suggests_its_records(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", 63)
    (warning,) = choose_reference(run, None, min_tokens=64).warnings
    assert "so the reference is zero; --reference records takes the mean over the run's corpus" in warning
    with pytest.raises(UsageError) as caught:
        choose_reference(run, "mean", min_tokens=64)
    assert caught.value.next_step == "Use --reference zero, records, or run:DIR of a larger run"


def test_records_without_all_layers_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "n_layers": 4}))
    change_record(run.path / "records" / "records_meta.json", n_layers=4)
    run = Run.open(run.path)
    with pytest.raises(UsageError, match=r"the records lack the layers 2\.\.3") as caught:
        choose_reference(run, "records", min_tokens=64)
    assert "--all_layers" in caught.value.line()
    assert corpus_moments(run, [0]).mean.shape == (1, 4)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [("records", "model_name", "other"), ("records", "weights_fingerprint", "f"), ("records", "model_revision", "r")],
)
def test_records_of_another_model_are_refused(tmp_path: Path, file: str, field: str, value: str) -> None:
    run = recorded(tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest |= {"weights_fingerprint": "here", "model_revision": "here"}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    change_record(run.path / "records" / f"{file}_meta.json", **{field: value})
    with pytest.raises(UsageError, match=f"the records are of another model: {field} is {value}, here "):
        choose_reference(Run.open(run.path), "records", min_tokens=64)


def test_records_with_another_tokenizer_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "tokenizer_sha256": "1" * 64}))
    with pytest.raises(UsageError, match="the records are of another model: tokenizer_sha256 is 0"):
        choose_reference(Run.open(run.path), "records", min_tokens=64)


def test_records_of_too_few_tokens_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    n = choose_reference(run, "records", min_tokens=1).mean
    assert n is not None and choose_reference(run, "records", min_tokens=n.n_tokens).name == "records"
    with pytest.raises(UsageError, match=rf"has {n.n_tokens} tokens .* \(--min_mean_tokens\)"):
        choose_reference(run, "records", min_tokens=n.n_tokens + 1)


def test_the_count_is_that_of_the_neuron_with_the_fewest_values(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")

    def less(by: int, counts: np.ndarray) -> np.ndarray:
        counts = counts.copy()
        counts[1, 2, 0] = by
        return counts

    change_array(run.path, "moments.safetensors", "count", partial(less, 70))
    mean = choose_reference(run, "records", min_tokens=64).mean
    assert mean is not None and mean.n_tokens == 70
    change_array(run.path, "moments.safetensors", "count", partial(less, 0))
    with pytest.raises(UsageError, match="the records have no values of 1 neurons in part explain"):
        choose_reference(run, "records", min_tokens=64)


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three prompts of different lengths through a tiny model; layer 1 only."""
    folder = tmp_path_factory.mktemp("reference")
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([{"id": k, "text": v} for k, v in TEXTS.items()]))
    given = ["--model_name", str(tiny_model_dir("gemma2")), "--prompts_json", str(prompts), "--device", "cpu"]
    flags = ["--model_dtype", "fp32", "--quiet", "--layers", "1", "--out_dir", str(folder / "run")]
    assert main([*given, *flags]) == 0
    return Run.open(folder / "run")


def values_at(run: Run, name: str, positions: list[int], prompt: str = "seed") -> Reference:
    checked = check_prompt(run, prompt, CPU)
    return reference_at(choose_reference(run, name, min_tokens=1), run, checked.model, checked.prompt, positions)


def test_a_mean_is_the_same_at_every_position_and_undefined_in_other_layers(dumped: Run) -> None:
    found = values_at(dumped, "mean", [1, 3])
    assert found.values is not None and found.values.shape == (N_LAYERS, 2, D_MLP)
    tokens = np.concatenate([dumped.acts(p)[:, 1:] for p in dumped.prompts], axis=1)
    for i in range(2):
        np.testing.assert_allclose(found.values[1, i], tokens.mean(1)[0], rtol=1e-5, atol=1e-6)
    assert torch.isnan(found.values[[0, 2]]).all()
    assert found.record()["reference_run"]["n_prompts"] == 3


def test_another_prompt_is_aligned_at_its_end(dumped: Run) -> None:
    twin = values_at(dumped, "prompt:twin", [1, 4]).values
    assert twin is not None and torch.equal(twin, check_prompt(dumped, "twin", CPU).acts[:, [1, 4]])
    longer = dumped.prompt("long").seq_len - dumped.prompt("seed").seq_len
    assert longer > 0
    aligned = values_at(dumped, "prompt:long", [0, 4]).values
    assert aligned is not None
    assert torch.equal(aligned, check_prompt(dumped, "long", CPU).acts[:, [longer, 4 + longer]])


def test_a_prompt_that_is_too_short_is_refused(dumped: Run) -> None:
    with pytest.raises(UsageError, match="prompt seed: has 7 tokens: none is as far from its end as position 0"):
        values_at(dumped, "prompt:seed", [0, 7], "long")


def test_a_prompt_is_not_its_own_reference(dumped: Run) -> None:
    with pytest.raises(UsageError, match="cannot be its own reference"):
        values_at(dumped, "prompt:0", [2], "seed")


def test_centred_scores_are_the_distance_from_the_reference_times_the_score_per_activation() -> None:
    acts, per_act = torch.tensor([[[2.0, -1.0, 3.0]]]), torch.tensor([[[0.5, 2.0, 0.0]]])
    found = attribution("dla", (0,), acts, acts * per_act, per_act)
    values = torch.tensor([[[1.0, 1.0, torch.nan]]])
    reference = Reference("mean", "mean", values, 70)
    assert reference.centred(found).tolist() == [[[0.5, -4.0, 0.0]]]  # without an effect, whatever the reference
    assert torch.equal(reference.held(acts)[..., :2], values[..., :2])
    zero = Reference("zero", "mean", values, 70)
    assert torch.equal(zero.centred(found), reference.centred(found)) and not zero.held(acts).any()
    assert torch.isnan(Reference("zero", None, None).centred(found)).all()
