"""Tables of the view *Weights*: which rows are shown, and their columns in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.runs.stage_results import ResultRecord
from neuron_signatures.runs.weights.folder import CLASSES
from neuron_signatures.views.at_large.texts import class_words

if TYPE_CHECKING:
    import pandas as pd

STATISTICS_HELP = {
    "neuron": "Click to select the neuron.",
    "class": "What the neuron writes, from its weights alone.",
    "kurtosis": "Of the cosines of w_out with the unembedding of every token (normal: 3). High: few tokens stand out.",
    "skewness": "Of the same cosines. Positive: the tokens that stand out are raised.",
    "variance": "Of the same cosines. High: many tokens are raised or lowered.",
    "|w_out|": "Norm of the output weights, with the norms' weights folded in.",
    "|w_in|": "Norm of the input weights, with the norms' weights folded in.",
    "|gate|": "Norm of the gate weights, with the norms' weights folded in.",
    "cos in, out": "Cosine of input and output weights. Positive: the neuron strengthens what it reads.",
    "cos gate, out": "Cosine of gate and output weights.",
    "cos in, gate": "Cosine of input and gate weights.",
    "weakest 2 %": "Share of the squared norm of w_out in the weakest 2 % of the unembedding's singular directions.",
    "frequency r": "Correlation of what the neuron writes with how often tokens occur in the run's corpus.",
}
COLUMNS = {
    "class": "class", "logit_kurtosis": "kurtosis", "logit_skewness": "skewness", "logit_variance": "variance",
    "norm_out": "|w_out|", "norm_in": "|w_in|", "norm_gate": "|gate|", "cos_in_out": "cos in, out",
    "cos_gate_out": "cos gate, out", "cos_in_gate": "cos in, gate", "null_share": "weakest 2 %",
    "frequency_correlation": "frequency r",
}  # fmt: skip
FORMATS = dict.fromkeys(list(COLUMNS.values())[1:], "%.3g")
MOST_ROWS = 500


class ClassCount(NamedTuple):
    """How many neurons are of a class; `random` is the same of random directions, None if it was not counted."""

    name: str
    n: int
    share: float
    random: float | None


def class_counts(statistics: pd.DataFrame, record: ResultRecord) -> list[ClassCount]:
    """The classes in order, the rest last; shares are of all neurons, and of all random directions."""
    counts = statistics["class"].fillna("none").value_counts()
    random = _random_shares(record)
    names = [*CLASSES, *(c for c in counts.index if c not in CLASSES)]
    n = max(1, len(statistics))
    return [ClassCount(str(c), int(counts.get(c, 0)), int(counts.get(c, 0)) / n, random.get(str(c))) for c in names
            if c in counts or c in random]  # fmt: skip


def class_line(counts: Sequence[ClassCount]) -> list[tuple[str, str]]:
    """Classes as facts: `412 (1.2 %); of random directions 0.0 %`."""
    return [
        (class_words(c.name), f"{c.n:,} ({c.share:.2%})" + ("" if c.random is None else
                                                           f"; of random directions {c.random:.2%}"))
        for c in counts
    ]  # fmt: skip


def filtered(statistics: pd.DataFrame, classes: Sequence[str], layer: int | None) -> pd.DataFrame:
    """The neurons of these classes (all for none), and of one layer (None: all)."""
    some = statistics
    if classes:
        some = some[some["class"].fillna("none").isin(list(classes))]
    return some if layer is None else some[some["layer"] == layer]


def statistics_frame(rows: pd.DataFrame, by: str, *, ascending: bool) -> pd.DataFrame:
    """The first rows by a column, undefined numbers last, with columns in words; empty columns are left out."""
    first = rows.sort_values(by, ascending=ascending, na_position="last", kind="stable").head(MOST_ROWS)
    named = [f"L{layer}N{neuron}" for layer, neuron in zip(first["layer"], first["neuron"], strict=True)]
    frame = first.rename(columns=COLUMNS)
    frame.insert(0, "at", named)
    frame["class"] = [class_words(str(c)) for c in frame["class"].fillna("none")]
    kept = [c for c in COLUMNS.values() if c == "class" or frame[c].notna().any()]
    return frame[["at", *kept]].rename(columns={"at": "neuron"}).reset_index(drop=True)


def _random_shares(record: ResultRecord) -> dict[str, float]:
    """The share of each class among random directions, as far as the record has it."""
    found = record.facts.get("classes")
    if not isinstance(found, dict):
        return {}
    shares = {str(k): v.get("random_share") for k, v in found.items() if isinstance(v, dict)}
    return {k: float(v) for k, v in shares.items() if isinstance(v, int | float)}


def neighbour_null(record: ResultRecord, weight: str) -> str:
    """What the largest |cosine| would be by chance, as a sentence; empty if it was not computed."""
    found = record.facts.get("neighbours")
    own = found.get(weight) if isinstance(found, dict) else None
    high, n = (own.get(k) if isinstance(own, dict) else None for k in ("null_high", "n_null"))
    if not isinstance(high, int | float) or not isinstance(n, int):
        return ""
    return f"With permuted coordinates, 99 % of {n:,} neurons have a nearest neighbour of at most {high:.3f}."
