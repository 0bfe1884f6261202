"""The model of a run, opened again for scorers, and copies of a text with edits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from attribution_cases import loaded, token_ids
from intervention_cases import session
from subject_runs import FROM, tools_for
from tiny_models import ARCHITECTURES

from neuron_signatures.models.batching import BatchSize
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.sample import Sample
from neuron_signatures.scoring.outputs.copies import CopyEdit, EditedCopies
from neuron_signatures.scoring.outputs.loaded import open_subject

EDITS = [CopyEdit.none(), CopyEdit.ablate(3, 0.7), CopyEdit.steer(60, 8.0), CopyEdit.steer(60, -8.0)]


def copies_of(name: str, ids: list[int], layer: int, most: int = 3) -> EditedCopies:
    return EditedCopies(loaded(name), tuple(ids), layer, BatchSize(most))


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_edits_of_copies_are_those_of_stage_3(name):
    ids, n_new = token_ids(6), 5
    copies, reference = copies_of(name, ids, 1), session(name)
    found = copies.logprobs(EDITS)
    texts = copies.continuations(EDITS, n_new)
    for edit, logprobs, new in zip(EDITS, found, texts, strict=True):
        hooks = [] if edit == CopyEdit.none() else [edit.as_edit(1, len(ids) + n_new)]
        wanted = reference.logits(ids, hooks)[-1].log_softmax(-1)
        torch.testing.assert_close(logprobs, wanted, atol=2e-4, rtol=1e-4)
        assert new == reference.generate(ids, hooks, max_new_tokens=n_new)[: len(new)] and new
    assert (found[0] - found[2]).abs().max() > 0.01


def test_a_text_of_one_token_is_not_edited_in_its_first_prediction():
    found = copies_of("llama", [9], 1).logprobs([CopyEdit.none(), CopyEdit.steer(3, 50.0)])
    torch.testing.assert_close(found[0], found[1])


def test_continuations_end_with_the_end_token():
    ids = token_ids(6)
    free = copies_of("llama", ids, 1).continuations([CopyEdit.none()], 8)[0]
    model = loaded("llama")
    before = model.tokenizer.eos_token_id
    try:
        model.tokenizer.eos_token_id = free[2]
        found = copies_of("llama", ids, 1).continuations([CopyEdit.none()] * 2, 8)
    finally:
        model.tokenizer.eos_token_id = before
    assert found == [free[: free.index(free[2]) + 1]] * 2


def test_activations_do_not_depend_on_the_batch(run_dir):
    with tools_for(run_dir) as tools:
        subject = tools.subject_model.load()
        texts = ["People live in Texas.", "from", "", "A letter came from the capital of Ohio, far from here."]
        together = subject.peaks(FROM, texts)
        alone = [subject.peaks(FROM, [text])[0] for text in texts]
        assert together[2] is None and alone[2] is None
        for one, other in zip(together, alone, strict=True):
            assert (one is None and other is None) or one.act == pytest.approx(other.act, rel=1e-4)
        assert together[3].act > 10 * abs(together[0].act) and together[3].n_positions > together[0].n_positions


def test_the_negative_pole_has_the_other_sign(run_dir):
    with tools_for(run_dir) as tools:
        subject = tools.subject_model.load()
        ids = subject.encode(["A letter came from Ohio."])
        positive, negative = (subject.acts(FROM._replace(pole=pole), ids)[0] for pole in "+-")
        np.testing.assert_array_equal(positive, -negative)


def test_it_is_loaded_once_for_all_scorers_of_the_same_tools(run_dir):
    with tools_for(run_dir) as tools:
        assert tools.subject_model.load() is tools.subject_model.load()


def test_a_run_whose_records_are_of_another_model_is_refused(run_dir, monkeypatch):
    with tools_for(run_dir) as tools:
        sample = tools.records.sample

        def other(*args: object, **kwargs: object) -> Sample:
            found = sample(*args, **kwargs)
            return dataclasses.replace(found, acts=found.acts[::-1].copy())

        monkeypatch.setattr(tools.records, "sample", other)
        with pytest.raises(BadRunError, match="recomputed activations of the records differ"):
            open_subject(tools.run, tools.records, tools.subject)
