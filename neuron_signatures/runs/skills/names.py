"""Names of the files in `skills/`, and of the things that its tables count."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

SKILLS: Final = "skills"
"""The stage folder."""

STAGE: Final = "poc7_compare_skills"

Mode = Literal["collect", "compare", "explain", "classify", "steer"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

# collect; its record is the last file.
TEXTS: Final = "texts"
"""Table of the texts."""
GATES: Final = "gates"
"""Table with the quality of each autoencoder."""
FEATURES: Final = "features"
"""Table with the strongest units at every token."""
SAMPLE: Final = "token_sample.safetensors"
"""All units at a uniform sample of tokens."""
UNFINISHED: Final = "collect_unfinished.json"
"""What a stopped command has finished."""
# compare
SIMILARITIES: Final = "similarities"
SEPARATION: Final = "separation"
SPECIFIC: Final = "specific_units"
FREQUENCIES: Final = "frequencies"
PROBES: Final = "probes"
FIGURES: Final = "figures"
"""Folder of pictures in the stage folder."""
# explain
UNIT_EXPLANATIONS: Final = "unit_explanations"
# classify
CLASSIFICATIONS: Final = "classifications"
AGREEMENT: Final = "agreement"
CLASSIFICATION_CONTROLS: Final = "classification_controls"
# steer
STEERING: Final = "steering"
STEERING_SUMMARY: Final = "steering_summary"
STEERED_TEXTS: Final = "steered_texts"

Half = Literal["find", "held_out"]
"""Units are chosen on the texts of `find` and tested on those of `held_out`."""
Background = Literal["kept", "left_out", "idf"]
"""`left_out`: without units that fire in more than a share of all texts. `idf`: weighted by the logarithm of the
inverse share of texts."""
Measure = Literal["jaccard", "overlap", "cosine", "pearson", "spearman", "dot"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
Vector = Literal["set", "frequency", "log1p_count", "mean"]
"""What is compared: the set of units that fire in at least a share of the texts, the share of texts in which each unit
fires, log(1 + number of those texts), or the mean over texts of the mean activation over tokens."""
Fires = Literal["threshold", "topk", "normalised"]
"""When a unit fires in a text: at a token above its threshold, among the k strongest of its bank at a token, or above a
share of the largest activation of all texts."""


def record_name(mode: Mode) -> str:
    """Name of the stage record of a mode."""
    return f"{mode}_meta.json"


def part_name(number: int) -> str:
    """Name of a file with sums and maxima of some consecutive texts; parts count from 1."""
    return f"sums-{number:05d}.safetensors"


def rest_name(number: int) -> str:
    """Name of a file that an unfinished command needs beside a part; 0 is of the sample."""
    return f"collect_unfinished-{number:05d}.safetensors"


def is_unfinished(name: str) -> bool:
    """Whether a file belongs to a command that was not finished."""
    return name == UNFINISHED or name.startswith("collect_unfinished-")


def is_part(name: str) -> bool:
    """Whether this is the name of a part."""
    return re.fullmatch(r"sums-\d{5,}\.safetensors", name) is not None
