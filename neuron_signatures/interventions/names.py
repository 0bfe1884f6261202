"""File names of interventions: what differs from a default is part of the name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.runs.results import target_stem

STAGE: Final = "poc3_intervene"
# Defaults, which are not part of a name; the same as those of the flags of the stage.
DEFAULT_N_RANDOM, DEFAULT_SEED, DEFAULT_MAX_K = 1000, 0, 1000
_MOST_NAMES = 2


def stem_of(mode: str, prompt_id: str, edit: str, target: Target, parts: Sequence[str]) -> str:
    """Stem of the files of a result on one prompt and target; empty `parts` are left out."""
    suffix = "_".join(p for p in parts if p)
    return target_stem(
        mode, prompt_id, edit, target.mode, target.pos, target.token_id, foil_id=target.foil_id, suffix=suffix
    )


def label_of(names: Sequence[str]) -> str:
    """Up to two neurons by name, more by their number and a digest of all names."""
    if len(names) <= _MOST_NAMES:
        return ".".join(n.replace("+", "p").replace("-", "m") for n in names)
    return f"{len(names)}-neurons-{hashlib.sha256(','.join(names).encode()).hexdigest()[:8]}"
