"""The mean over prompts of one template, on made-up activations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuron_signatures.circuits.template_mean import Seen, template_mean
from neuron_signatures.runs.errors import UsageError


def seen(*ids: int) -> Seen:
    """Activation of the only neuron: the token id."""
    return Seen(ids, torch.tensor(ids, dtype=torch.float32)[None, :, None])


def mean(ids: tuple[int, ...], *others: Seen) -> list[float]:
    found: Tensor = template_mean(ids, others)
    return found[0, :, 0].tolist()


def test_positions_are_those_with_the_same_role() -> None:
    assert mean((1, 2, 30, 4), seen(1, 2, 40, 4), seen(1, 2, 50, 4)) == [1, 2, 45, 4]


def test_a_longer_entity_is_aligned_at_its_end() -> None:
    # the entity of the second has two tokens: its last one is that with the role of 30
    assert mean((1, 30, 4), seen(1, 60, 70, 4)) == [1, 70, 4]


def test_a_token_that_only_a_longer_entity_has_takes_the_mean_of_the_next() -> None:
    assert mean((1, 60, 70, 4), seen(1, 30, 4), seen(1, 50, 4)) == [1, 40, 40, 4]
    assert mean((1, 60, 70, 4), seen(1, 30, 4), seen(1, 90, 50, 4)) == [1, 90, 40, 4]


def test_prompts_of_another_form_and_no_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match="no more than their first token"):
        mean((1, 2, 3), seen(4, 5, 6))
    with pytest.raises(UsageError, match="another prompt"):
        template_mean((1, 2, 3), [])
