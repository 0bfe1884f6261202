"""What the flags say about a model. Imports nothing heavy, so that a stage can build its flags from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Dtype = Literal["bf16", "fp16", "fp32"]
Quantization = Literal["none", "8bit", "4bit"]
QUANTIZATION_REQUESTS: Final = ("auto", "none", "8bit", "4bit")
# A BOS in front of every text, as the tokenizer itself does, or none.
BosRequest = Literal["prepend", "tokenizer", "off"]

DEFAULT_MODEL: Final = "google/gemma-2-2b"
DEMO_MODEL: Final = "demo"
SMOLLM2_MODEL: Final = "smollm2"
# accelerate's ways to spread a model over the GPUs.
DEVICE_MAPS: Final = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class ModelSpec:
    """Which model, at which revision, in which precision, where.

    `name` is `demo`, `smollm2`, a folder, a GGUF file or a Hugging Face id. `revision` (branch, tag or commit)
    is None for the repository's default; `device` is `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `device_map` is
    None for one device, or `auto`, `balanced`, `balanced_low_0`, `sequential` to spread a model over several.
    """

    name: str
    revision: str | None = None
    dtype: Dtype = "bf16"
    device: str = "auto"
    quantization: Quantization = "none"
    device_map: str | None = None
    trust_remote_code: bool = False
    deterministic: bool = False
    """Bit-equal results for any number of threads: see `models.determinism`."""
    may_quantize: bool = False
    """Whether `models.fit` may choose a quantisation before the model is loaded. `load_model` ignores it."""


def path_of(name: str) -> Path:
    """`name` as a path, `~` expanded. An unknown user's `~name` stays as it is, where `Path.expanduser` raises."""
    return Path(os.path.expanduser(name))  # noqa: PTH111
