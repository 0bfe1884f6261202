"""The precision in which an analysis loads the model of a run."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.analysis.attribution.influence import NEED_FLOAT32
from neuron_signatures.analysis.attribution.metrics import Metric
from neuron_signatures.runs.manifest import UNRECORDED, Dtype, Manifest

DIFFERENCES = "differences of forward passes are reported"
"""Why `default_dtype` is not the dtype of the run."""


def default_dtype(manifest: Manifest, metrics: Sequence[Metric]) -> Dtype:
    """fp32 if differences of forward passes are reported, else the dtype of the run."""
    differences = any(m in NEED_FLOAT32 for m in metrics)
    quantization = manifest.quantization
    if differences and (quantization in ("none", UNRECORDED) or quantization.startswith("checkpoint:gguf-")):
        return "fp32"
    return manifest.model_dtype
