"""The first pass against brute force: lists, moments and histograms of all neurons, ties included."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from record_oracle import OracleWindow, histograms, moments, strongest_lists
from record_passes import all_windows, first_pass, small_corpus

from neuron_signatures.records.corpus.blocks import blocks
from neuron_signatures.records.pass1 import layer, plan
from neuron_signatures.records.pass1.bins import edges
from neuron_signatures.records.pass1.finish import AllNeurons, merge_states
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.plan import BlockPlan, in_histogram
from neuron_signatures.records.pass1.run import FirstPass, run_first_pass
from neuron_signatures.records.pass1.state import load_state, save_state
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.progress import silent


def records_of(work: FirstPass) -> AllNeurons:
    run_first_pass(work, silent)
    return merge_states(work.run_dir, [work.file.name], work.settings.layers, work.corpus)


def assert_equals_oracle(found: AllNeurons, windows: list[list[OracleWindow]], seed: int, *, top_k: int = 5) -> None:
    numbers = np.arange(len(windows[0]))
    drawn = set(numbers[in_histogram(numbers, seed)].tolist())
    assert 0 < len(drawn) < len(numbers)
    for row, of_layer in enumerate(windows):
        lists = strongest_lists(of_layer, top_k=top_k)
        np.testing.assert_array_equal(found.strongest.window[row], lists.window)
        np.testing.assert_array_equal(found.strongest.value[row], lists.value)
        np.testing.assert_array_equal(found.strongest.pos[row], lists.pos)
        np.testing.assert_array_equal(found.histograms.counts[row], histograms(of_layer, edges(), drawn))
        wanted = moments(of_layer)
        np.testing.assert_array_equal(found.moments.count[row], wanted.count)
        scale = np.sqrt(np.maximum(wanted.m2, wanted.mean**2)) + 1e-12
        for power, name in ((1, "mean"), (2, "m2"), (3, "m3"), (4, "m4")):
            exact = getattr(wanted, name)
            error = np.abs(getattr(found.moments, name)[row] - exact) / (scale**power + np.abs(exact))
            assert error.max() < 3e-6, name  # sums within a window are float32


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "opt"])
@pytest.mark.parametrize("settings", [{}, {"bos_token_id": 1}, {"stride": 5}, {"skip_first": 4, "bos_token_id": 1}])
def test_equals_brute_force(tmp_path: Path, name: str, settings: dict[str, int]) -> None:
    with small_corpus(tmp_path, **settings) as corpus:
        assert corpus.window_document.max() + 1 < corpus.n_windows  # documents of several windows
        work = first_pass(corpus, tmp_path, name)
        assert_equals_oracle(records_of(work), all_windows(work), corpus.meta.seed)


@pytest.mark.parametrize("settings", [{}, {"bos_token_id": 1}, {"stride": 5}])
@pytest.mark.parametrize("rows_alone", [1, 2, 100])
def test_windows_summed_together_as_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], rows_alone: int
) -> None:
    monkeypatch.setattr(layer, "_ONE_BY_ONE", ())
    monkeypatch.setattr(layer, "_VALUES_AT_ONCE", 1000)
    monkeypatch.setattr(plan, "_ROWS_ALONE", rows_alone)
    with small_corpus(tmp_path, **settings) as corpus:
        work = first_pass(corpus, tmp_path, "gpt2", batch_size=5)
        assert_equals_oracle(records_of(work), all_windows(work), corpus.meta.seed)


def test_windows_that_are_not_finite_are_left_out_on_a_gpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    with small_corpus(tmp_path, bos_token_id=1) as corpus:
        block = BlockPlan(corpus, blocks(corpus, 30)[0], 30, 1, corpus.meta.seed)
        acts = torch.randn(
            len(block.windows), corpus.meta.sequence_length, 6, generator=torch.Generator().manual_seed(0)
        )
        acts[5, 1, 2], acts[-1, 1, 3] = torch.nan, -torch.inf
        acts[7, :, 1] = 2.0**40
        for one_by_one in (("cpu",), ()):
            monkeypatch.setattr(layer, "_ONE_BY_ONE", one_by_one)
            records = LayerRecords(6, 5, torch.device("cpu"))
            records.begin_block(block)
            for slab in block.slabs():
                records.begin_slab(slab)
                for batch in slab.batches:
                    records.add_batch(block, batch, acts[batch.windows - block.block.first_window])
                records.end_slab(block, slab)
            records.end_block(block)
            records.compact()
            found.append(records)
    one, together = found
    assert one.left_out == together.left_out == 2
    assert torch.equal(one.count, together.count) and torch.equal(one.histogram, together.histogram)
    torch.testing.assert_close(one.sums, together.sums, rtol=1e-6, atol=1e-4)
    for mine, theirs in zip(itertools.chain(*one.lists), itertools.chain(*together.lists), strict=True):
        assert torch.equal(mine.value, theirs.value) and torch.equal(mine.window, theirs.window)
        assert torch.equal(mine.pos, theirs.pos)


def test_contexts_are_folded_and_ties_go_to_the_earliest_window(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        work = first_pass(corpus, tmp_path, "opt", top_k=40)
        found, windows = records_of(work), all_windows(work)
        assert_equals_oracle(found, windows, corpus.meta.seed, top_k=40)
        listed = (found.strongest.window >= 0).sum(axis=-1)  # layer neuron part pole
        documents = np.bincount([corpus.document_part[d] for d in range(corpus.meta.n_documents)], minlength=3)
        assert (listed < np.minimum(documents, 40)[None, None, :, None]).any()  # something was folded
        values = found.strongest.value[..., 0, 1, :]
        assert (values == 0).any()  # a ReLU: equal values in many windows


def test_one_layer_of_the_model(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        work = first_pass(corpus, tmp_path, layers=[1])
        assert_equals_oracle(records_of(work), all_windows(work), corpus.meta.seed)


def test_the_table_says_what_the_lists_say(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        work = first_pass(corpus, tmp_path, top_k=3)
        found, windows = records_of(work), all_windows(work)
        table = found.table
        assert list(table["layer"].unique()) == [0, 1] and len(table) == 2 * found.moments.mean.shape[1]
        explain = [[w.acts[w.counted_from :] for w in of_layer if w.part == 0] for of_layer in windows]
        for row, values in enumerate(explain):
            of_layer = table[table["layer"] == row]
            np.testing.assert_array_equal(of_layer["max"], np.concatenate(values).max(axis=0))
            np.testing.assert_array_equal(of_layer["min"], np.concatenate(values).min(axis=0))
            everything = np.concatenate([w.acts[w.counted_from :] for w in windows[row]])
            np.testing.assert_array_equal(of_layer["largest"], np.abs(everything).max(axis=0))


def test_the_tokens_at_which_neurons_are_strongest_most_often(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        found = records_of(first_pass(corpus, tmp_path, top_k=12))
        for pole, name in enumerate(("often_pos", "often_neg")):
            window, pos = (getattr(found.strongest, key)[:, :, 0, pole].reshape(-1, 12) for key in ("window", "pos"))
            for row, (windows, positions) in enumerate(zip(window, pos, strict=True)):
                peaks = [int(corpus.token_ids(w)[p]) for w, p in zip(windows, positions, strict=True) if w >= 0]
                counts = sorted(Counter(peaks).items(), key=lambda item: (-item[1], item[0]))
                assert json.loads(found.table[name][row]) == corpus.strings([token for token, _ in counts[:5]])
                assert found.table[f"{name}_share"][row] == counts[0][1] / len(peaks)


def test_a_state_with_positions_that_the_corpus_does_not_have(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        work = first_pass(corpus, tmp_path)
        run_first_pass(work, silent)
        devices = [torch.device("cpu")] * 2
        state = load_state(tmp_path, work.file.name, corpus, devices)
        state.layers[1].lists[0][0].pos[3, 0] = 99
        save_state(tmp_path, work.file.name, state)
        with pytest.raises(BadRunError, match="positions that the corpus does not have"):
            load_state(tmp_path, work.file.name, corpus, devices)


@pytest.mark.parametrize("name", ["gemma2", "opt"])
def test_neurons_that_are_strongest_where_windows_begin(tmp_path: Path, name: str) -> None:
    with small_corpus(tmp_path) as corpus:
        work = first_pass(corpus, tmp_path, name)
        found, wanted = records_of(work), 0
        for of_layer in all_windows(work):
            lists = strongest_lists(of_layer, top_k=5)
            for neuron in zip(lists.value[:, 0], lists.window[:, 0], lists.pos[:, 0], strict=True):  # explain
                at_first = [
                    [p == of_layer[w].counted_from for v, w, p in zip(*pole, strict=True) if w >= 0 and v != 0]
                    for pole in zip(*neuron, strict=True)
                ]
                wanted += any(len(pole) > 1 and 2 * sum(pole) > len(pole) for pole in at_first)
        assert 0 < found.n_first_position == wanted < found.table.shape[0]
