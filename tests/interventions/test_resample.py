"""Resample ablation takes each value from a token of another prompt, never a first one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_runs import BOS, make_run, random_acts

from neuron_signatures.interventions.effect.resample import resampled_reference
from neuron_signatures.runs.errors import UsageError

PROMPTS = {"a": [BOS, " x", " y"], "b": [BOS, " z"], "c": [BOS, " u", " v", " w"]}


def test_every_value_is_of_another_prompt_and_not_of_its_first_token(tmp_path: Path) -> None:
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=40)
    run = make_run(tmp_path / "run", PROMPTS, acts)
    found = resampled_reference(run, "a", (1, 2), seed=0)
    assert found.values is not None and found.values.shape == (2, 2, 40) and found.n_tokens == 4
    pool = np.concatenate([acts["b"][:, 1:], acts["c"][:, 1:]], axis=1)  # layer, token, neuron
    drawn = found.values.numpy()[:, :, None]
    same = drawn == pool[:, None]
    assert same.any(2).all()
    assert same.any((0, 1, 3)).all(), "each of the four tokens is drawn for some neuron"


def test_the_draw_depends_on_the_seed_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", PROMPTS, random_acts(PROMPTS, n_layers=1, d_mlp=30))
    one, two, other = (resampled_reference(run, "a", (1,), seed=s).values for s in (1, 1, 2))
    assert one is not None and two is not None and other is not None
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_layers_that_are_not_stored_have_no_value(tmp_path: Path) -> None:
    acts = random_acts(PROMPTS, n_layers=1, d_mlp=5)
    run = make_run(tmp_path / "run", PROMPTS, acts, layers=[1], n_layers=3)
    values = resampled_reference(run, "c", (2,), seed=0).values
    assert values is not None
    assert torch.isfinite(values).all(-1).all(-1).tolist() == [False, True, False]


def test_a_run_of_one_prompt_has_nothing_to_draw(tmp_path: Path) -> None:
    prompts = {"a": [BOS, " x"]}
    run = make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=5))
    with pytest.raises(UsageError, match="no other prompt"):
        resampled_reference(run, "a", (1,), seed=0)
