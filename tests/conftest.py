"""Shared by all tests: shapes and types are checked at run time, nothing uses the network, one thread per process,
and hypothesis draws the same examples in every run (`make fuzz` draws new ones)."""

from __future__ import annotations

import os

import hypothesis
from jaxtyping import install_import_hook

# pytest-xdist sets a terminal width in its workers.
os.environ.pop("COLUMNS", None)
# Before torch, transformers and huggingface_hub are imported, which read these once. Several test processes run at
# the same time, and threads that wait for each other take longer than the arithmetic of tiny models.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

for package in (
    "models",
    "analysis",
    "dump",
    "interventions",
    "records",
    "llm",
    "scoring",
    "explain",
    "skills",
    "corpus_analysis",
    "drift",
    "weights",
    "server",
):
    install_import_hook(f"neuron_signatures.{package}", "beartype.beartype")

hypothesis.settings.register_profile("test", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", max_examples=2000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("test")
