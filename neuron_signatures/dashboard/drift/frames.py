"""Tables of the view *Drift*, with columns in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.runs.comparisons.folder import ALL_LAYERS
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.comparisons.course import Checkpoint

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 300


class Order(NamedTuple):
    """An order of the most drifted neurons."""

    title: str
    column: str
    largest: bool
    """Whether the largest |value| is the most drifted; else the smallest value."""


ORDERS: tuple[Order, ...] = (
    Order("least correlated", "pearson", False), Order("change of the mean", "mean_z", True),
    Order("change of the standard deviation", "std_z", True), Order("change of the firing rate", "rate_z", True),
    Order("other strongest texts", "jaccard", False), Order("output weights turned", "cos_out", False),
    Order("input weights turned", "cos_in", False),
)  # fmt: skip
DRIFT_HELP = {
    "neuron": "Click to select it.",
    "Pearson": "Of the activations on the same tokens; 1 is no change.",
    "Jaccard": "Of the strongest tokens or windows in both; 1 is the same.",
    "mean z": "Change of the mean, over the standard deviation of the difference of random halves of the prompts.",
    "std z": "The same of the standard deviation.",
    "rate z": "The same of the firing rate.",
    "cos in": "Cosine of the input weights in both; 1 is no change.",
    "cos gate": "Cosine of the gate weights in both.",
    "cos out": "Cosine of the output weights in both.",
    "norm out": "Norm of the output weights in the reference over that in the checkpoint.",
}
STEP_HELP = {
    "change": "Of the debiased CKA to the reference; the reference itself is 1.",
    "low": "Lower end of the 95 % interval.", "high": "Upper end of the 95 % interval.",
    "largest": "Share of the bootstrap draws in which it is the largest change of all steps.",
}  # fmt: skip
MATCH_HELP = {
    "neuron": "Of the reference. Click to select it.",
    "best": "The neuron of the checkpoint whose activations correlate most with it.",
    "correlation": "With the best match.",
    "null": "95th percentile of the best correlation when the tokens of the checkpoint are permuted.",
    "own rank": "Rank of the neuron with the same index; 1 is the best.",
    "partner": "In the one-to-one assignment with the largest sum.",
}
_COLUMNS = {"pearson": "Pearson", "jaccard": "Jaccard", "mean_z": "mean z", "std_z": "std z", "rate_z": "rate z",
            "cos_in": "cos in", "cos_gate": "cos gate", "cos_out": "cos out", "norm_ratio_out": "norm out"}  # fmt: skip
FORMATS = dict.fromkeys((*_COLUMNS.values(), "correlation", "null", "p. correlation"), "%.3g")


def most_drifted(rows: pd.DataFrame, order: Order, *, layer: int | None = None) -> pd.DataFrame:
    """The neurons by an order, without those for which it is undefined."""
    some = rows if layer is None else rows[rows["layer"] == layer]
    some = some[some[order.column].notna()]
    key = some[order.column].abs() if order.largest else some[order.column]
    return some.loc[key.sort_values(ascending=not order.largest, kind="stable").index].head(MOST_ROWS)


def drift_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """With columns in words; empty columns are left out."""
    frame = rows.assign(at=_labels(rows)).rename(columns={"at": "label", **_COLUMNS})
    kept = [c for c in _COLUMNS.values() if frame[c].notna().any()]
    return frame[["label", *kept]].drop(columns="neuron", errors="ignore").rename(columns={"label": "neuron"}) \
        .reset_index(drop=True)  # fmt: skip


def other_matches(rows: pd.DataFrame) -> pd.DataFrame:
    """Neurons whose best match has another index and exceeds the null, the best correlation first."""
    moved = rows[(rows["same_index_rank"] != 1) & (rows["best_correlation"] > rows["null_high"])]
    return moved.sort_values("best_correlation", ascending=False, kind="stable").head(MOST_ROWS)


def matches_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows.assign(
        label=_labels(rows), best=_labels(rows, "best_neuron"), partner=_labels(rows, "assigned_neuron")
    ).drop(columns="neuron").rename(columns={
        "label": "neuron", "best_correlation": "correlation", "null_high": "null", "same_index_rank": "own rank",
        "assigned_correlation": "p. correlation",
    })  # fmt: skip
    return frame[["neuron", "best", "correlation", "null", "own rank", "partner", "p. correlation"]].reset_index(
        drop=True
    )


def match_sentence(rows: pd.DataFrame) -> str:
    """How many neurons are best matched by their own index, and how many by none."""
    n = len(rows)
    if not n:
        return "No neuron was matched."
    known = rows[rows["best_correlation"].notna() & rows["null_high"].notna()]
    same = int((rows["same_index_rank"] == 1).sum())
    below = int((known["best_correlation"] <= known["null_high"]).sum())
    return (f"Of {n:,} neurons, {same:,} ({same / n:.1%}) are best matched by the neuron with the same index; "
            f"{below:,} have no match above the null.")  # fmt: skip


def checkpoints_frame(checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({
        "checkpoint": [c.name for c in checkpoints], "": ["reference" if c.is_reference else "" for c in checkpoints],
        "run": [brief(c.run) for c in checkpoints], "model": [brief(_last_part(c.model)) for c in checkpoints],
        "prompts": pd.array([c.n_prompts for c in checkpoints], dtype="Int64"),
        "tokens": pd.array([c.n_tokens for c in checkpoints], dtype="Int64"),
        "loss": pd.array([c.loss for c in checkpoints], dtype="Float64"),
    })  # fmt: skip


def steps_frame(rows: pd.DataFrame, checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    """The change of the CKA of all layers together from each run to the next."""
    names = {c.number: c.name for c in checkpoints}
    own = rows[rows["layer"] == ALL_LAYERS]
    step = [f"{names.get(int(a), a)} → {names.get(int(b), b)}" for a, b in zip(own["a"], own["b"], strict=True)]
    frame = own.assign(step=step).rename(columns={"largest_share": "largest"})
    return frame[["step", "change", "low", "high", "largest"]].reset_index(drop=True)


def _last_part(model: str) -> str:
    """The name of a model; of a folder, its last part."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def unaligned_frame(rows: pd.DataFrame, checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    names = {c.number: c.name for c in checkpoints}
    text = {c: [brief(str(v)) for v in rows[c].fillna("")] for c in ("what", "name", "why")}
    named = [names.get(int(c), str(c)) if c == c else "" for c in rows["checkpoint"]]
    return rows.assign(checkpoint=named, **text)[["checkpoint", "what", "name", "why"]].reset_index(drop=True)


def _labels(rows: pd.DataFrame, column: str = "neuron") -> list[str]:
    return [f"L{layer}N{int(n)}" if n == n and n is not None and n >= 0 else ""
            for layer, n in zip(rows["layer"], rows[column], strict=True)]  # fmt: skip
