"""The folder `comparisons/<name>/` in the run that the others are compared with: its tables and their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from neuron_signatures.runs.names import COMPARISONS, META
from neuron_signatures.runs.stage_results import StageFolder, Table

STAGE: Final = "poc9_compare_runs"
COMPARISON: Final = "comparison"
"""The mode, and so the name of the record."""
ANIMATION: Final = "drift.html"
FIGURES: Final = "figures"

CHECKPOINTS: Final = "checkpoints"
DRIFT: Final = "drift"
MATCHES: Final = "matches"
MODELS: Final = "models"
STEPS: Final = "steps"
UNALIGNED: Final = "unaligned"

ALL_LAYERS: Final = -1
"""The layer of `models` and `steps` that stands for all layers together."""

_PAIR: Final = {"a": "int32", "b": "int32"}
"""Rows of `checkpoints`."""

TABLES: Final = {
    # The runs in order; `reference` is the one that all others are compared with. `n_prompts` and `n_tokens`: those
    # that are compared, 0 for a run that is left out. `loss`: mean loss of the next token in these prompts, nats.
    CHECKPOINTS: Table(COMPARISON, {
        "checkpoint": "int32", "label": "string", "run": "string", "model_name": "string", "model_revision": "string",
        "reference": "bool", "n_prompts": "int32", "n_tokens": "int64", "loss": "double",
    }),
    # One row per pair of runs and neuron of the same index. Pairs: each run (a) with the reference (b), and with the
    # next run (b). Moments and rates are over the tokens that all compared runs have; `jaccard` is of the `jaccard_k`
    # strongest tokens (dumps) or windows (records), those with the largest |activation|. `*_z`: the change from a to b
    # over the standard deviation of the difference between random disjoint halves of the prompts in the reference; null
    # for records. `cos_*` and `norm_ratio_*` (norm in b over norm in a) are of the weights as stored, norms not folded
    # in. Gate columns are null without a gate, weights where no model was loaded.
    DRIFT: Table(COMPARISON, {
        **_PAIR, "layer": "int32", "neuron": "int32", "pearson": "double", "jaccard": "double", "mean_a": "double",
        "mean_b": "double", "mean_z": "double", "std_a": "double", "std_b": "double", "std_z": "double",
        "rate_a": "double", "rate_b": "double", "rate_z": "double", "cos_in": "double", "cos_gate": "double",
        "cos_out": "double", "norm_ratio_in": "double", "norm_ratio_gate": "double", "norm_ratio_out": "double",
    }),
    # Across indices, for pairs with the reference: for each neuron of b, the neuron of the same layer of a with the
    # largest correlation, and its partner in the one-to-one assignment with the largest sum. `null_high`: 95th
    # percentile of the best correlation when the tokens of a are permuted. `same_index_rank`: 1 if no neuron of a
    # correlates more than that of the same index; null if the widths differ. Null for neurons that do not vary.
    MATCHES: Table(COMPARISON, {
        **_PAIR, "layer": "int32", "neuron": "int32", "best_neuron": "int32", "best_correlation": "double",
        "null_high": "double", "assigned_neuron": "int32", "assigned_correlation": "double",
        "same_index_rank": "int32",
    }),
    # Linear CKA of all neurons of a layer in both runs; `debiased_cka` uses the unbiased estimator of HSIC, and has the
    # interval (95 % bootstrap over prompts) and the null (tokens of b permuted). `layer` -1: all
    # layers together. Of two equal runs exactly 1.
    MODELS: Table(COMPARISON, {
        **_PAIR, "layer": "int32", "cka": "double", "debiased_cka": "double", "low": "double", "high": "double",
        "null_mean": "double", "null_sd": "double", "p": "double", "n_null": "int32", "n_tokens": "int64",
    }),
    # The change of the debiased CKA to the reference from each run (a) to the next (b), the reference itself being 1,
    # with its 95 % interval and the share of bootstrap draws in which it is the largest change of this layer.
    STEPS: Table(COMPARISON, {
        **_PAIR, "layer": "int32", "change": "double", "low": "double", "high": "double", "largest_share": "double",
    }),
    # What is not compared, and why.
    UNALIGNED: Table(COMPARISON, {"checkpoint": "int32", "what": "string", "name": "string", "why": "string"}),
}  # fmt: skip


def comparison_folder(name: str) -> StageFolder:
    """The folder of one comparison."""
    return StageFolder(
        folder=f"{COMPARISONS}/{name}", stage=STAGE, tables=TABLES,
        command=f"python -m neuron_signatures.{STAGE}", modes=(COMPARISON,),
    )  # fmt: skip


def list_comparisons(run_dir: Path) -> list[str]:
    """Names of the finished comparisons, in order of name."""
    return sorted(path.parent.name for path in (run_dir / COMPARISONS).glob(f"*/{COMPARISON}{META}"))
