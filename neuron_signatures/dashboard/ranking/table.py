"""Rows of a ranked list as arrays for figures and as a table, with help texts for its columns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.ranking.figures import Ranks
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.ranked import Kind, RankedList

_SCORE_HELP: dict[Kind, str] = {
    "influence": "The neuron's influence on the function in brackets, by this list's metric, in the function's unit: "
    "logits, or nats of logprob (dla_pre_ln2_post has no unit). Negative values decrease it.",
    "peaks": "Mean over the prompts of the largest |act|.",
    "signatures": "Largest peak of this pole over the prompts; the sign of the negative pole is reversed.",
    "contrast": "How much higher the neuron is on side A than on side B: the effect size d, the difference of means, "
    "or AUROC - .5. Negative values: lower on A.",
}
_ACT_HELP: dict[Kind, str] = {
    "influence": "Activation of the neuron at the scored position.",
    "peaks": "The largest or smallest activation over the run, whichever has the larger magnitude.",
    "signatures": "",
    "contrast": "",
}
_SCORED = {"token": "The token at the scored position.", "position": "The scored position, from 0."}
_PEAK = {"prompt": "The prompt of the activation.", "position": "Position in that prompt, from 0.",
         "token": "The token at that position.", "note": "The most frequent peak token."}  # fmt: skip
_WHERE_HELP: dict[Kind, dict[str, str]] = {
    "influence": _SCORED,
    "peaks": _PEAK,
    "signatures": {"token": "The most frequent peak token of the pole.", "note": "Class and name."},
    "contrast": {"note": "Means on A and B, the probability that a prompt of A exceeds one of B, and q."},
}
_COLUMN_HELP = {
    "rank": "Rank by |score| in the whole list, regardless of filters; empty if the score is undefined.",
    "neuron": "Click a cell of the row to open it.",
    "pole": "+ for positive activations, - for negative ones.",
    "prompt": "The scored prompt.",
}


def ranks_of(ranked: RankedList, rows: np.ndarray) -> Ranks:
    """The rows as arrays for the figures."""
    tokens = [ranked.row(int(i)).token or "" for i in rows]
    return Ranks(
        ranked.layer[rows], ranked.neuron[rows], np.asarray(rows, np.int64), ranked.score[rows],
        ranked.acts()[rows], tokens,
    )  # fmt: skip


def rank_frame(ranked: RankedList, rows: np.ndarray) -> pd.DataFrame:
    """The rows as a table for display, without columns that the list does not have."""
    lines = [ranked.row(int(i)) for i in rows]
    frame = pd.DataFrame(
        {
            "rank": pd.array([None if r.score is None else r.rank for r in lines], dtype="Int64"),
            "neuron": [r.at.label for r in lines],
            "pole": [r.pole for r in lines],
            ranked.score_name: [r.score for r in lines],
            "token": [visible(r.token or "") for r in lines],
            "activation": [r.act for r in lines],
            "prompt": [brief(r.prompt_id or "") for r in lines],
            "position": pd.array([r.pos for r in lines], dtype="Int64"),
            "note": [visible(r.note) for r in lines],
        }
    )
    frame = frame.astype({ranked.score_name: "float64", "activation": "float64"})
    blank = [c for c in ("pole", "note", "prompt", "token") if not frame[c].astype(bool).any()]
    return frame.drop(columns=blank + [c for c in ("rank", "activation", "position") if frame[c].isna().all()])


def rank_help(ranked: RankedList) -> dict[str, str]:
    """Help texts by column name for this list."""
    kind = ranked.ref.kind
    return {ranked.score_name: _SCORE_HELP[kind], "activation": _ACT_HELP[kind], **_COLUMN_HELP, **_WHERE_HELP[kind]}
