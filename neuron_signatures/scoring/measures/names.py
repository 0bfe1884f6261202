"""Names of the scores of simulators."""

from __future__ import annotations

HEADLINE = "correlation/uniform"
STANDARD = (
    HEADLINE, "auprc/uniform", "f1/uniform", "iou/uniform", "balanced_accuracy/uniform", "auroc/uniform",
    "ev_correlation/top_and_random", "rsquared/top_and_random", "absolute_dev_explained/top_and_random",
)  # fmt: skip
WINDOWS = "auprc/windows", "auroc/windows"
"""Of simulators that say something of whole windows."""
SIXTY = "ev_correlation/sixty", "spearman/sixty"
