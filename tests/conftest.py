"""Shared by all tests: shapes and types are checked while they run, nothing asks the network, and tiny models
compute on one thread, because threads that wait for each other take longer than the arithmetic."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

# Before torch, transformers and huggingface_hub are imported, which read them once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

for room in ("models", "analysis", "dump"):
    install_import_hook(f"neuron_signatures.{room}", "beartype.beartype")
