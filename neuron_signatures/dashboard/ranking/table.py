"""Rows of a ranked list as arrays for figures and as a table, with help texts for its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.ranking.figures import Ranks
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.filters import Text, parse
from neuron_signatures.views.lists.ranked import Kind, RankedList
from neuron_signatures.views.neurons.descriptions import shown_tokens

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
         "token": "The token at that position."}  # fmt: skip
_WHERE_HELP: dict[Kind, dict[str, str]] = {
    "influence": _SCORED,
    "peaks": _PEAK,
    "signatures": {},
    "contrast": {"test": "The probability that a prompt of A exceeds one of B, q, and the means on A and B."},
}
BAR = "|score|"
_COLUMN_HELP = {
    "rank": "Rank by |score| in the whole list, regardless of filters; empty if the score is undefined.",
    "neuron": "Click a cell of the row to open it. + or - is the pole: positive or negative activations.",
    BAR: "The magnitude of the score; the bar is full at the largest of the list.",
    "explanation": "The explanation of this pole to read, with its set or author. In lists without poles the sign is "
    "that of promotes.",
    "promotes": "The tokens whose logits the neuron raises most at the sign that it has in this row, from its weights. "
    "In influence lists that is the sign of its distance from the reference.",
    "suppresses": "The tokens whose logits it lowers most at this sign.",
    "fires on": "The signature of this pole with the number of texts that it rests on. Else its most frequent peak "
    "token (3/14: the peak of 3 of the 14 different texts at which it peaks), and the token of its largest peak.",
    "most often on": "The tokens at the peaks of the strongest windows of a corpus at this sign, the most frequent "
    "first.",
    "share": "Share of these windows whose peak is the first token.",
    "prompt": "The scored prompt.",
}


def ranks_of(ranked: RankedList, rows: np.ndarray) -> Ranks:
    """The rows as arrays for the figures."""
    tokens = [ranked.row(int(i)).token or "" for i in rows]
    return Ranks(
        ranked.layer[rows], ranked.neuron[rows], np.asarray(rows, np.int64), ranked.score[rows],
        ranked.acts()[rows], tokens,
    )  # fmt: skip


def poles_of(ranked: RankedList, rows: np.ndarray) -> list[NeuronPole]:
    """The neuron of each row with the sign that it has there."""
    at = ranked.poles
    return [NeuronPole(int(at.layer[i]), int(at.neuron[i]), "-" if at.negative[i] else "+") for i in rows]


def patterns_of(query: str) -> list[str]:
    """The texts of a query that a written token may match."""
    return [t.pattern for t in parse(query) if isinstance(t, Text) and t.field in ("any", "promotes", "suppresses")]


def rank_frame(
    ranked: RankedList, rows: np.ndarray, patterns: Sequence[str] = (), explained: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows as a table for display, without columns that the list does not have, or that are the same in every row.

    Of the tokens that a neuron writes, the first five are shown, and later ones that match `patterns`. `explained` is
    an escaped text for each row.
    """
    lines = [ranked.row(int(i)) for i in rows]
    described = [ranked.description(int(i)) for i in rows]
    kind, constant = ranked.ref.kind, ranked.constants()
    columns: dict[str, Any] = {
        "rank": pd.array([None if r.score is None else r.rank for r in lines], dtype="Int64"),
        "neuron": [r.at.label + r.pole for r in lines],
        ranked.score_name: [r.score for r in lines],
        "test": [r.note if kind == "contrast" else "" for r in lines],
        BAR: [None if r.score is None else abs(r.score) for r in lines],
        "promotes": [shown_tokens(d.promotes, patterns) for d in described],
        "explanation": list(explained) or [""] * len(lines),
        "fires on": [d.fires for d in described],
        "most often on": [d.often.text() for d in described],
        "share": [d.often.share for d in described],
        "suppresses": [shown_tokens(d.suppresses, patterns) for d in described],
        "activation": [r.act for r in lines],
        "token": [visible(r.token or "") if kind in ("influence", "peaks") else "" for r in lines],
        "prompt": [brief(r.prompt_id or "") for r in lines],
        "position": pd.array([r.pos for r in lines], dtype="Int64"),
    }
    frame = pd.DataFrame(columns).astype(dict.fromkeys((ranked.score_name, BAR, "activation", "share"), "float64"))
    texts = ("explanation", "promotes", "suppresses", "fires on", "most often on", "test", "token", "prompt")
    blank = [c for c in texts if not frame[c].astype(bool).any()]
    same = [
        shown for name, shown in (("pos", "position"), ("token", "token"), ("prompt_id", "prompt")) if name in constant
    ]
    undefined = [c for c in ("rank", BAR, "share", "activation", "position") if frame[c].isna().all()]
    return frame.drop(columns=list(dict.fromkeys([*blank, *same, *undefined])))


def rank_help(ranked: RankedList) -> dict[str, str]:
    """Help texts by column name for this list."""
    kind = ranked.ref.kind
    return {ranked.score_name: _SCORE_HELP[kind], "activation": _ACT_HELP[kind], **_COLUMN_HELP, **_WHERE_HELP[kind]}
