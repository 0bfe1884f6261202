"""Bit-equal results on the same kind of machine with the same versions of the libraries.

A matrix product sums in another order with another number of threads or another batch, so its last bits differ.
"""

from __future__ import annotations

import os
from typing import Final

import torch

# cuBLAS reads it when CUDA starts, and torch refuses matrix products without it.
CUBLAS_WORKSPACE: Final = ":4096:8"


def make_deterministic() -> None:
    """One CPU thread, deterministic kernels and no TF32, for the rest of the process.

    A forward pass then depends only on its batch: run each prompt alone. An operation without a deterministic kernel
    raises `RuntimeError`.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
