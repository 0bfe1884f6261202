"""Forward passes over the recorded corpus, against the records of the same run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from record_stage import extract, flags, write_corpus

from neuron_signatures.corpus_analysis.passes import choose_windows, open_pass
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("passes")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl"), folder / "run")) == 0
    return folder / "run"


def test_moments_of_a_part_are_the_recorded_ones(run_dir: Path) -> None:
    with Run.open(run_dir) as run, Records.open(run) as records:
        windows = choose_windows(records.corpus, ("explain",))
        with open_pass(run, records, ModelOverrides(device="cpu")) as corpus_pass:
            batches = list(corpus_pass.batches(windows))
        assert corpus_pass.n_left_out == 0
        assert np.array_equal(np.sort(np.concatenate([b.windows for b in batches])), windows)
        for row, layer in enumerate(records.layers):
            values = np.concatenate([b.counted(row).numpy() for b in batches]).astype(np.float64)
            recorded = records.layer_moments(layer, parts=("explain",))
            assert len(values) == recorded.count[0]
            np.testing.assert_allclose(values.mean(axis=0), recorded.mean, atol=1e-6)
            np.testing.assert_allclose(values.std(axis=0), recorded.std, atol=1e-6)


def test_activations_and_tokens_are_of_the_same_positions(run_dir: Path) -> None:
    with Run.open(run_dir) as run, Records.open(run) as records:
        layer, neuron = records.sampled_neurons[7]
        sample = records.sample(layer, neuron, parts=("explain",))
        with open_pass(run, records, ModelOverrides(device="cpu"), layers=[layer]) as corpus_pass:
            for batch in corpus_pass.batches(sample.windows.astype(np.int64)):
                for i, window in enumerate(batch.windows.tolist()):
                    at = int(np.searchsorted(sample.windows, window))
                    row = slice(sample.starts[at], sample.starts[at + 1])
                    n = row.stop - row.start
                    np.testing.assert_allclose(batch.acts(0)[i, :n, neuron].numpy(), sample.acts[row], atol=1e-5)
                    assert np.array_equal(batch.token_ids[i, :n], sample.token_ids[row])
                    assert np.array_equal(batch.counts[i, :n], sample.counts[row]) and not batch.counts[i, n:].any()
                assert len(batch.counted_ids) == len(batch.counted_windows) == len(batch.counted(0))


def test_a_smaller_sample_is_contained_in_a_larger_one(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        few, more = (choose_windows(records.corpus, ("explain", "select"), n_windows=n, seed=3) for n in (5, 20))
        assert len(few) == 5 and set(few.tolist()) < set(more.tolist())
        assert {records.corpus.part_of(int(w)) for w in more} <= {"explain", "select"}
        assert few.tolist() != choose_windows(records.corpus, ("explain", "select"), n_windows=5, seed=4).tolist()


def test_layers_without_records_are_refused(run_dir: Path) -> None:
    with (
        Run.open(run_dir) as run,
        Records.open(run) as records,
        pytest.raises(UsageError, match="layer 7 is not recorded"),
        open_pass(run, records, ModelOverrides(device="cpu"), layers=[7]),
    ):
        pass
