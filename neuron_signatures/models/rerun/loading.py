"""What an analysis says while it loads the model of a run: size, precision, device, and whether memory suffices."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

import torch
from transformers import PreTrainedConfig as PretrainedConfig

from neuron_signatures.models.faults import weights_bar
from neuron_signatures.models.info import model_info, weights_bytes
from neuron_signatures.models.load import find_device
from neuron_signatures.models.memory import free_memory
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.manifest import DTYPE_BYTES, Dtype

log = logging.getLogger(__name__)


@contextlib.contextmanager
def announced(
    spec: ModelSpec, config: PretrainedConfig, *, run_dtype: Dtype, dtype_reason: str | None
) -> Iterator[None]:
    """Log what is loaded in the block, before and after it; in a terminal, show a bar.

    `dtype_reason` says why the precision is not that of the run; None if the user chose it, or it is the same. Warns if
    the weights alone are larger than the memory that is free.
    """
    info, device = model_info(spec, config), find_device(spec.device)
    size = {dtype: weights_bytes(info, dtype, spec.quantization) for dtype in (spec.dtype, run_dtype)}
    smaller = DTYPE_BYTES[run_dtype] < DTYPE_BYTES[spec.dtype]
    where = "several devices" if spec.device_map else str(device)
    quantized = "" if spec.quantization == "none" else f"{spec.quantization} and "
    what = f"loading {spec.name} on {where}: {human_bytes(size[spec.dtype])} of weights in {quantized}{spec.dtype}"
    if dtype_reason is not None and smaller:
        instead = f"instead of {human_bytes(size[run_dtype])} in {run_dtype}"
        what += f" {instead}, because {dtype_reason} (--model_dtype {run_dtype} is smaller, but coarse)"
    log.info("%s", what)
    free = free_memory(device, several=spec.device_map is not None)
    if free is not None and size[spec.dtype] > free:
        ways = _ways_out(device, {run_dtype: size[run_dtype]} if smaller else {}, several=spec.device_map is not None)
        need = human_bytes(size[spec.dtype])
        log.warning("the weights need %s, but %s has %s free: %s", need, where, human_bytes(free), ways)
    start = time.monotonic()
    with weights_bar(show=sys.stderr.isatty() and log.isEnabledFor(logging.INFO)):
        yield
    log.info("loaded in %.1f s", time.monotonic() - start)


def _ways_out(device: torch.device, smaller: dict[Dtype, int], *, several: bool) -> str:
    ways = [f"use --model_dtype {dtype} ({human_bytes(n)})" for dtype, n in smaller.items()]
    if device.type == "cuda":
        ways += [] if several else ["use --device_map auto for several GPUs"]
        ways.append("use --device cpu")
    return ", or ".join([*ways, "free some memory"])
