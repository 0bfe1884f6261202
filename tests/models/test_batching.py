"""A batch that does not fit is run in halves, in order; what cannot be halved ends with one line."""

from __future__ import annotations

import pytest
import torch
from short_of_memory import CPU, CUDA, ERRORS, MPS

from neuron_signatures.models.batching import BatchSize, Work, memory_faults, run_in_halves
from neuron_signatures.runs.errors import EnvironmentProblem


def work(item: int) -> Work:
    return Work("a test", "device here", "less of it", n_tokens=item)


def run_limited(items, limit: int, error: Exception, size: BatchSize | None = None) -> list:
    def run(batch):
        if len(batch) > limit:
            raise error
        return list(batch)

    size = size or BatchSize(len(items))
    return list(run_in_halves(run, items, size=size, unit="prompts", work=work))


@pytest.mark.parametrize("device", ERRORS)
def test_halves_in_order_with_one_warning_for_each_size(device: str, caplog: pytest.LogCaptureFixture) -> None:
    assert run_limited([1, 2, 3, 4, 5, 6], 2, ERRORS[device]) == [[1], [2], [3], [4], [5], [6]]
    assert [r.getMessage() for r in caplog.records] == [
        f"out of memory with {n} prompts in a batch; going on with {n // 2}" for n in (6, 3)
    ]


def test_the_size_limits_every_batch_and_stays_halved(caplog: pytest.LogCaptureFixture) -> None:
    size = BatchSize(4)
    assert run_limited([1, 2, 3, 4, 5], 2, ERRORS["cpu"], size) == [[1, 2], [3, 4], [5]]
    assert run_limited([6, 7, 8], 2, ERRORS["cpu"], size) == [[6, 7], [8]]
    assert len(caplog.records) == 1


def test_one_item_too_large_and_other_errors() -> None:
    with pytest.raises(EnvironmentProblem, match="out of memory in a test with one prompt of 1 tokens"):
        run_limited([1, 2], 0, torch.OutOfMemoryError())
    with pytest.raises(RuntimeError, match="shapes"):
        run_limited([1, 2], 1, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"), memory_faults(work(1)):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (torch.OutOfMemoryError(CUDA), "(asked for 2.1 GB, 1.3 GB available)"),
        (RuntimeError(MPS), "(asked for 6.2 GB, 2.1 GB available)"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB, max allowed: "
                      "6.80 GB). Tried to allocate 768.00 MB on private pool."),
         "(asked for 805.3 MB, 150.3 MB available)"),
        (RuntimeError("Invalid buffer size: 19.38 GiB"), "(asked for 20.8 GB)"),
        (RuntimeError("CUDA error: out of memory"), "1 tokens. Use"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "1 tokens. Use"),
        (RuntimeError("std::bad_alloc"), "1 tokens. Use"),
    ],
)  # fmt: skip
def test_the_line_says_what_was_asked_for_and_available(error: Exception, facts: str) -> None:
    with pytest.raises(EnvironmentProblem) as caught, memory_faults(work(1)):
        raise error
    line = caught.value.line()
    assert line.startswith("device here: out of memory in a test with one prompt of 1 tokens")
    assert facts in line and line.endswith("Use less of it"), line


@pytest.mark.parametrize("error", [RuntimeError(CPU), MemoryError("Unable to allocate 3.73 GiB for an array")])
def test_the_host_says_what_is_available(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_signatures.models.batching.available_bytes", lambda: 3_000_000_000)
    with pytest.raises(EnvironmentProblem, match=r"\(asked for 4\.0 GB, 3\.0 GB available\)"), memory_faults(work(1)):
        raise error
