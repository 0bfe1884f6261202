"""Tests of a circuit as the tables and facts of mode `checks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.circuits.checks.curves import CurvePoint, Curves
from neuron_signatures.circuits.checks.swaps import Swap
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.circuits.folder import CURVES, SWAPS, TABLES

if TYPE_CHECKING:
    import pandas as pd


def curve_frame(found: Curves) -> pd.DataFrame:
    """One row per size, those of the strongest units alone."""
    import pandas as pd

    rows = [{"n_units": found.n_units, **point_row(point)} for point in found.points]
    return pd.DataFrame(rows, columns=list(TABLES[CURVES].columns))


def point_row(point: CurvePoint) -> dict[str, Any]:
    """The columns of one set, without the number of all units."""
    kept, left = point.random, point.complement_random
    return {
        "k": point.k, "faithfulness": point.faithfulness, "complement": point.complement,
        "random_mean": kept and kept.mean, "random_sd": kept and kept.sd, "random_high": kept and kept.high,
        "p": kept and kept.p, "complement_random_mean": left and left.mean, "complement_random_sd": left and left.sd,
        "complement_random_low": left and left.low, "complement_p": left and left.p, "n_random": kept.n if kept else 0,
    }  # fmt: skip


def curve_facts(found: Curves) -> dict[str, Any]:
    """m(M), m(∅), and the circuit's own set."""
    return {
        "full": found.full, "empty": found.empty, "n_units": found.n_units,
        "circuit": None if found.circuit is None else asdict(found.circuit),
    }  # fmt: skip


def swap_frame(swaps: Sequence[Swap], tokenizer: TokenizerBase) -> pd.DataFrame:
    """One row per group and other prompt; tokens as in runs, not escaped."""
    import pandas as pd

    rows = []
    for swap in swaps:
        before, after, other = token_strings(tokenizer, [swap.before_id, swap.after_id, swap.answer_id])
        null = swap.random
        rows.append({
            "group": swap.group, "n_neurons": swap.n_neurons, "other_prompt": swap.other, "answer_before": before,
            "answer_after": after, "answer_other": other, "flipped": swap.flipped, "moved": swap.moved,
            "random_flip_share": swap.random_flip_share, "null_mean": null and null.mean, "null_sd": null and null.sd,
            "p": null and null.p, "n_null": null.n if null else 0,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES[SWAPS].columns))
