"""The folder `weights/`: its tables and their columns."""

from __future__ import annotations

from typing import Final, Literal, get_args

from neuron_signatures.runs.stage_results import StageFolder, Table

STAGE: Final = "poc8_weights"
STATISTICS: Final = "statistics"
RANDOM: Final = "random_directions"
NEIGHBOURS: Final = "neighbours"
NEIGHBOUR_NULL: Final = "neighbour_null"
FIGURES: Final = "figures"
"""Folder of pictures in the stage folder."""

WeightClass = Literal["prediction", "suppression", "partition", "entropy", "token_frequency", "none"]
CLASSES: Final[tuple[WeightClass, ...]] = get_args(WeightClass)
Weight = Literal["output", "input", "gate"]
"""Whose directions are compared: W_out, W_in, or the gate of a gated MLP."""
WEIGHTS: Final[tuple[Weight, ...]] = get_args(Weight)

_LOGITS: Final = {
    "logit_mean": "double", "logit_variance": "double", "logit_skewness": "double", "logit_kurtosis": "double",
}  # fmt: skip
_STATISTICS: Final = {
    "layer": "int32", "neuron": "int32", "class": "string", **_LOGITS,
    "norm_out": "double", "norm_in": "double", "norm_gate": "double",
    "cos_in_out": "double", "cos_gate_out": "double", "cos_in_gate": "double",
    "null_share": "double", "frequency_correlation": "double",
}  # fmt: skip
"""`logit_*`: moments over the vocabulary of cos(W_U[:, v], w_out); kurtosis is Pearson's (normal: 3). `null_share`:
share of the squared norm of w_out in the weakest 2 % of the singular directions of W_U. `frequency_correlation`:
correlation over the tokens of the run's corpus of w_out·W_U[:, v] with the logarithm of the token's count; null
without records. Gate columns are null without a gate. Norms' weights are folded in."""
_RANDOM: Final = {
    "layer": "int32", "draw": "int32", "class": "string", **_LOGITS, "norm_out": "double", "null_share": "double",
    "frequency_correlation": "double",
}  # fmt: skip
"""The same of random directions with the second moments of a layer's w_out."""
_NEIGHBOURS: Final = {
    "layer": "int32", "neuron": "int32", "weight": "string", "rank": "int32", "other_layer": "int32",
    "other_neuron": "int32", "cosine": "float",
}  # fmt: skip
"""The ten neurons with the largest |cosine|, rank 1 first; the cosine has its sign."""
_NEIGHBOUR_NULL: Final = {"weight": "string", "layer": "int32", "neuron": "int32", "cosine": "float"}
"""Of sampled neurons: the largest |cosine| with any other neuron after the neuron's coordinates were permuted."""

WEIGHTS_FOLDER: Final = StageFolder(
    folder="weights",
    stage=STAGE,
    tables={
        STATISTICS: Table(STATISTICS, _STATISTICS),
        RANDOM: Table(STATISTICS, _RANDOM),
        NEIGHBOURS: Table(STATISTICS, _NEIGHBOURS),
        NEIGHBOUR_NULL: Table(STATISTICS, _NEIGHBOUR_NULL),
    },
    command=f"python -m neuron_signatures.{STAGE}",
    modes=(STATISTICS,),
)
