"""What happens when memory runs out: a batch is halved, and what cannot be halved ends with one line.

`run_in_halves` is for batches, `memory_faults` for work that has no smaller form. Both have the same texts; callers
name the work.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

import torch
from transformers import PreTrainedModel

from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.host_memory import available_bytes

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# CUDA has its own error type; CPU, MPS, cuBLAS, NumPy and the system only texts (torch 2.13), here in lower case.
_SIGNS: Final = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "unable to allocate",
    "bad_alloc", "status_alloc_failed", "invalid buffer size",
)  # fmt: skip
_OF_THE_HOST: Final = "cpuallocator"
_SIZE: Final = r"([\d.]+) ?([KMGT]i?B|bytes)"
_ASKED: Final = re.compile(rf"(?:tried to allocate|unable to allocate|invalid buffer size:) {_SIZE}", re.IGNORECASE)
_CUDA_FREE: Final = re.compile(rf"of which {_SIZE} is free")
_MPS_USE: Final = re.compile(rf"allocated: {_SIZE}, other allocations: {_SIZE}, max allowed: {_SIZE}")
# torch divides by 1024 also where it writes MB (MPS, before torch 2.8).
_UNITS: Final = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Work:
    """What needs memory, in nouns: a `step` ("ig"; empty if the prompt says it) on one prompt of `n_tokens` tokens.

    `n_tokens` is None for work without a prompt. `needs` is the estimate in bytes besides the weights, None if there is
    none. `smaller` are flags and inputs that need less memory.
    """

    step: str
    where: str
    smaller: str
    n_tokens: int | None = None
    needs: int | None = None


@dataclass
class BatchSize:
    """The most items that run together. It stays halved, so that the next batches do not run out of memory again."""

    most: int


def work_on(hf: PreTrainedModel, step: str, token_ids: Sequence[int]) -> Work:
    """Work of stage 2 on a prompt."""
    weight = hf.get_input_embeddings().weight
    dtype = ", --model_dtype bf16" if weight.dtype == torch.float32 else ""
    return Work(step, f"device {weight.device}", f"a shorter prompt{dtype} or another --device", len(token_ids))


def run_in_halves(
    run: Callable[[Sequence[int]], Result],
    batch: Sequence[int],
    *,
    size: BatchSize,
    unit: str,
    work: Callable[[int], Work],
) -> Iterator[Result]:
    """Yield the results of `run` for parts of `batch`, in order, each of at most `size.most` items.

    `batch` are indices. If memory runs out, `size` becomes half of the part that failed, with a warning that counts the
    items in `unit` ("prompts"). If one item does not fit, `EnvironmentProblem` names `work(index)`. Other errors are
    passed on.
    """
    start = 0
    while start < len(batch):
        part = batch[start : start + size.most]
        try:
            result = run(part)
        except (RuntimeError, MemoryError) as e:
            if not is_out_of_memory(e):
                raise
            if len(part) == 1:
                raise too_little_memory(work(part[0]), e) from e
        else:
            start += len(part)
            yield result
            continue
        # outside of `except`: inside, the traceback would keep the memory of the batch alive
        _empty_caches()
        size.most = len(part) // 2
        log.warning("out of memory with %d %s in a batch; going on with %d", len(part), unit, size.most)


def run_in_passes(
    run: Callable[[list[Item]], Result], items: Iterable[Item], *, size: BatchSize, unit: str, work: Work
) -> Iterator[Result]:
    """Yield the results of `run` for up to `size.most` items at a time, which are taken as they are needed.

    Memory is handled as in `run_in_halves`.
    """
    left = iter(items)
    while members := list(islice(left, size.most)):

        def one_pass(chunk: Sequence[int], members: list[Item] = members) -> Result:
            return run([members[i] for i in chunk])

        yield from run_in_halves(one_pass, range(len(members)), size=size, unit=unit, work=lambda _: work)


@contextlib.contextmanager
def memory_faults(work: Work) -> Iterator[None]:
    """Raise `EnvironmentProblem` that names `work` if memory runs out in the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if is_out_of_memory(e):
            raise too_little_memory(work, e) from e
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host has too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)


def too_little_memory(work: Work, error: BaseException) -> EnvironmentProblem:
    """The one line about an error of `is_out_of_memory`, with the bytes asked for and available if they are known."""
    facts = []
    if work.needs is not None:
        facts.append(f"needs about {human_bytes(work.needs)} besides the weights")
    text = str(error)
    if (asked := _ASKED.search(text)) is not None:
        facts.append(f"asked for {human_bytes(_bytes(*asked.groups()))}")
    if (available := _available(error)) is not None:
        facts.append(f"{human_bytes(available)} available")
    step = f" in {work.step}" if work.step else ""
    prompt = "" if work.n_tokens is None else f" with one prompt of {work.n_tokens} tokens"
    known = f" ({', '.join(facts)})" if facts else ""
    return EnvironmentProblem(f"out of memory{step}{prompt}{known}", where=work.where, next_step=f"Use {work.smaller}")


def _available(error: BaseException) -> int | None:
    text = str(error)
    if (free := _CUDA_FREE.search(text)) is not None:
        return _bytes(*free.groups())
    if (use := _MPS_USE.search(text)) is not None:
        ours, others, most = (_bytes(*use.groups()[i : i + 2]) for i in (0, 2, 4))
        return max(0, most - ours - others)
    return available_bytes() if isinstance(error, MemoryError) or _OF_THE_HOST in text.lower() else None


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * _UNITS[unit[0].lower()])


def _empty_caches() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
