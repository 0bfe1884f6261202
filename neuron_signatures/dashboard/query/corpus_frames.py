"""Tables of the Query view on the whole corpus, with columns in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.tokens import brief, visible

if TYPE_CHECKING:
    import pandas as pd

MOST = 300
NGRAM_HELP = {
    "n-gram": "Click to see its neurons. · is a space at an edge.", "tokens": "Length.",
    "count": "Positions in the parts explain and select.",
}  # fmt: skip
EFFECT_HELP = {
    "neuron": "With its pole. Click to open it.",
    "mean": "Activation at the last token of the n-gram, on explain.",
    "effect": "(mean - mean of all positions) / standard deviation of the neuron, on explain.",
    "held out": "The same on select, which had no part in the choice.",
}
CONTRAST_HELP = {
    "neuron": "Click to open it.",
    "AUROC": "Probability that the activation at a position of A exceeds that at one of B, where neurons were chosen.",
    "held out": "AUROC on select, which had no part in the choice. .5 is chance.",
    "low": "Lower end of the 95 % interval of the held-out AUROC.",
    "high": "Upper end of the 95 % interval of the held-out AUROC.",
    "difference": "Of the means, in standard deviations.",
    "q": "Mann-Whitney p, adjusted for all neurons (Benjamini-Hochberg).",
}
CONTRAST_FORMATS = {**dict.fromkeys(("AUROC", "held out", "low", "high", "difference", "mean A", "mean B"), "%.3f"),
                    "q": "%.2g"}  # fmt: skip


def matching(known: pd.DataFrame, typed: str) -> pd.DataFrame:
    """The n-grams whose text is or contains what was typed, equal ones first, then by count. `·` stands for a space."""
    wanted = typed.replace("·", " ").replace("⏎", "\n")
    text = known["text"].fillna("")
    if not wanted.strip():
        return known.sort_values("count", ascending=False, kind="stable").head(MOST)
    some = known[text.str.contains(wanted, regex=False)]
    if not len(some):
        some = known[text.str.contains(wanted, regex=False, case=False)]
    exact = some["text"].str.strip() != wanted.strip()
    return some.assign(_exact=exact).sort_values(["_exact", "count"], ascending=[True, False], kind="stable") \
        .drop(columns="_exact").head(MOST)  # fmt: skip


def found_frame(rows: pd.DataFrame) -> pd.DataFrame:
    shown = [visible(str(t)) for t in rows["text"].fillna("")]
    return (
        rows.assign(**{"n-gram": shown})
        .rename(columns={"n": "tokens", "held_out_count": "held out"})[["n-gram", "tokens", "count", "held out"]]
        .reset_index(drop=True)
    )


def neurons_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({
        "rank": [r["rank"] for r in rows], "neuron": [f"L{r['layer']}N{r['neuron']}{r['pole'] or ''}" for r in rows],
        **_effects(rows),
    })  # fmt: skip


def neuron_ngrams_frame(rows: Sequence[Mapping[str, Any]], known: pd.DataFrame) -> pd.DataFrame:
    """The n-grams of a pole with their text and count."""
    import pandas as pd

    texts = known[known["ngram"].isin([r["ngram"] for r in rows])].set_index("ngram")
    text, count = texts["text"].to_dict(), texts["count"].to_dict()
    return pd.DataFrame({
        "rank": [r["rank"] for r in rows], "n-gram": [visible(str(text.get(r["ngram"]) or "")) for r in rows],
        **_effects(rows), "count": [count.get(r["ngram"]) for r in rows],
    })  # fmt: skip


def clusters_frame(rows: pd.DataFrame, names: Mapping[tuple[str, int], str]) -> pd.DataFrame:
    keys = [(str(k), int(c)) for k, c in zip(rows["clustering"].fillna(""), rows["cluster"], strict=True)]
    named = [f"{c} {visible(names.get((k, c), ''))}".strip() for k, c in keys]
    frame = rows.assign(cluster=named, clustering=[brief(k) for k, _ in keys])
    frame = frame.rename(columns={"held_out_effect": "held out"})
    return frame[["clustering", "cluster", "effect", "held out"]].reset_index(drop=True)


def contrast_frame(rows: pd.DataFrame) -> pd.DataFrame:
    named = [f"L{layer}N{neuron}" for layer, neuron in zip(rows["layer"], rows["neuron"], strict=True)]
    frame = rows.assign(label=named).drop(columns="neuron").rename(columns={
        "label": "neuron", "auroc": "AUROC", "held_out_auroc": "held out", "held_out_low": "low",
        "held_out_high": "high", "mean_a": "mean A", "mean_b": "mean B", "n_a": "n A", "n_b": "n B",
    })  # fmt: skip
    return frame[["rank", "neuron", "held out", "low", "high", "AUROC", "difference", "q", "mean A", "mean B", "n A",
                  "n B"]].reset_index(drop=True)  # fmt: skip


def _effects(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import pandas as pd

    return {name: pd.array([r[column] for r in rows], dtype="Float64")
            for name, column in (("effect", "effect"), ("held out", "held_out_effect"), ("mean", "mean"))}  # fmt: skip
