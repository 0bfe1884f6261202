"""A batch that does not fit is run in halves, in order; other errors pass through."""

from __future__ import annotations

import pytest
import torch

from neuron_signatures.models.batching import run_in_halves
from neuron_signatures.runs.errors import EnvironmentProblem


def run_limited(items, limit: int, error: Exception) -> list:
    def run(batch):
        if len(batch) > limit:
            raise error
        return list(batch)

    def too_large(item) -> EnvironmentProblem:
        return EnvironmentProblem(f"item {item} does not fit")

    return list(run_in_halves(run, items, unit="prompts", too_large=too_large))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_halves_in_order(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert run_limited([1, 2, 3, 4, 5], 2, error) == [[1, 2], [3], [4, 5]]
    assert [r.getMessage() for r in caplog.records] == [
        f"out of memory with {n} prompts in a batch; going on with {n // 2}" for n in (5, 3)
    ]


def test_one_item_too_large_and_other_errors() -> None:
    with pytest.raises(EnvironmentProblem, match="item 1 does not fit"):
        run_limited([1, 2], 0, torch.OutOfMemoryError())
    with pytest.raises(RuntimeError, match="shapes"):
        run_limited([1, 2], 1, RuntimeError("shapes do not match"))
