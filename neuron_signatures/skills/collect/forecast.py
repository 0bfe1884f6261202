"""What a command will take, before weights are loaded: forward passes, bytes on disk and memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from neuron_signatures.models.info import weights_bytes
from neuron_signatures.models.load import find_device
from neuron_signatures.models.memory import free_memory
from neuron_signatures.runs.files import free_bytes, human_bytes
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.collect.banks import plan_banks
from neuron_signatures.skills.collect.batches import (
    PART_BYTES,
    batches,
    chunk_tokens,
    default_batch_size,
    part_starts,
)
from neuron_signatures.skills.collect.find_saes import FindSaes, find_saes
from neuron_signatures.skills.collect.request import CollectRequest
from neuron_signatures.skills.collect.stage import plan_of, read_request_texts

_ACTIVE_SHARE: Final = 0.1
"""Of the features of an autoencoder at a token, a generous guess."""
_TABLE_ROW: Final = 14
"""Bytes of a row of features.parquet on disk (measured: 9 to 13)."""
_PROCESS: Final = 500 << 20


@dataclass(frozen=True)
class Forecast:
    """`disk_bytes` is what remains; while the command runs, `unfinished_bytes` more are needed."""

    n_texts: int
    n_tokens: int
    n_forward_passes: int
    n_banks: int
    n_units: int
    disk_bytes: int
    unfinished_bytes: int
    memory_bytes: int
    free_disk: int
    free_memory: int | None

    @property
    def fits(self) -> bool:
        """Whether disk and memory suffice."""
        on_disk = self.disk_bytes + self.unfinished_bytes <= self.free_disk
        return on_disk and (self.free_memory is None or self.memory_bytes <= self.free_memory)

    def fields(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits}

    def lines(self) -> list[str]:
        free = "" if self.free_memory is None else f", {human_bytes(self.free_memory)} free"
        return [
            f"texts    {self.n_texts:,} of {self.n_tokens:,} tokens in {self.n_forward_passes:,} forward passes",
            f"units    {self.n_units:,} in {self.n_banks:,} banks",
            f"disk     about {human_bytes(self.disk_bytes)}, and {human_bytes(self.unfinished_bytes)} until the end; "
            f"{human_bytes(self.free_disk)} free",
            f"memory   about {human_bytes(self.memory_bytes)}{free}",
            *([] if self.fits else ["note     this does not fit: choose fewer --layers, --sites, --sources or texts"]),
        ]


def forecast(request: CollectRequest, find: FindSaes = find_saes) -> Forecast:
    """Estimate a command. Loads no weights and writes nothing."""
    run, plan = plan_of(request)
    if run is not None:
        run.close()
    device = find_device(plan.spec.device)
    banks = [planned.bank for planned in plan_banks(request.banks, plan.info, find(request, plan))]
    texts = read_request_texts(request, plan)
    starts = part_starts(texts, banks, request.top_k)
    size = request.batch_size or default_batch_size(device.type)
    parts = [range(a, b) for a, b in itertools.pairwise(starts)]
    passes = sum(1 for part in parts for _ in batches(texts, part, size, device.type))
    n_texts, n_tokens = len(texts.texts), int(texts.n_counted.sum())
    sample = min(request.sample_tokens, n_tokens)
    listed = n_tokens * len(banks) * request.top_k
    weights = weights_bytes(plan.info, plan.spec.dtype, plan.spec.quantization)
    encoders = sum(8 * b.n_units * plan.info.d_model for b in banks if not b.signed)
    chunk = max(4 * 4 * b.width * chunk_tokens(b.width, device.type) for b in banks)
    return Forecast(
        n_texts=n_texts,
        n_tokens=n_tokens,
        n_forward_passes=passes,
        n_banks=len(banks),
        n_units=sum(b.n_units for b in banks),
        disk_bytes=int(n_texts * _text_bytes(banks, n_tokens / n_texts) + _sample_bytes(banks, sample))
        + _TABLE_ROW * listed,
        unfinished_bytes=8 * listed,
        memory_bytes=int(
            weights + encoders + chunk + 2 * min(PART_BYTES, n_texts * 12 * sum(b.width for b in banks) + 12 * listed)
            + 2 * _sample_bytes(banks, sample) + (_PROCESS if device.type == "cpu" else 0)
        ),
        free_disk=free_bytes(request.run_dir),
        free_memory=free_memory(device, several=plan.spec.device_map is not None),
    )  # fmt: skip


def _text_bytes(banks: Sequence[Bank], n_tokens: float) -> float:
    """Of one text in the parts: two dense sums of neurons, sparse ones of features, and counts of the strongest."""
    dense = sum(8 * b.width for b in banks if b.signed)
    per_feature = 16 * min(1.0, _ACTIVE_SHARE * math.sqrt(n_tokens))
    return dense + per_feature * sum(b.width for b in banks if not b.signed) + 16 * n_tokens * len(banks)


def _sample_bytes(banks: Sequence[Bank], n_tokens: int) -> float:
    return n_tokens * sum(2 * b.n_units if b.signed else 6 * _ACTIVE_SHARE * b.n_units for b in banks)
