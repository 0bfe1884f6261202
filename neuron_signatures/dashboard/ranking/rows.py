"""Rows of a ranked list as arrays for figures and as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.ranking.figures import Ranks
from neuron_signatures.runs.tokens import escape, visible
from neuron_signatures.views.ranked import RankedList


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
            "prompt": [escape(r.prompt_id or "") for r in lines],
            "position": pd.array([r.pos for r in lines], dtype="Int64"),
            "note": [visible(r.note) for r in lines],
        }
    )
    frame = frame.astype({ranked.score_name: "float64", "activation": "float64"})
    blank = [c for c in ("pole", "note", "prompt", "token") if not frame[c].astype(bool).any()]
    return frame.drop(columns=blank + [c for c in ("rank", "activation", "position") if frame[c].isna().all()])
