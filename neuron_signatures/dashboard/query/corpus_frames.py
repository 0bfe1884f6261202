"""Tables of the Query view on the whole corpus, with columns in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.corpus_analysis.ngrams import ClusterEffect, NeuronEffect, NgramEffect
from neuron_signatures.runs.tokens import brief, visible

if TYPE_CHECKING:
    import pandas as pd

MOST = 300
NGRAM_HELP = {
    "n-gram": "Click to see its neurons. · is a space at an edge.", "length": "In tokens.",
    "count": "Positions in the part explain.", "held out": "Positions in the part select.",
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
    import pandas as pd

    return pd.DataFrame({
        "n-gram": [visible(str(t)) for t in rows["text"].fillna("")], "length": rows["n"].tolist(),
        "count": rows["count"].tolist(), "held out": rows["held_out_count"].tolist(),
    })  # fmt: skip


def neurons_frame(rows: Sequence[NeuronEffect]) -> pd.DataFrame:
    import pandas as pd

    named = [f"L{r.layer}N{r.neuron}{r.pole or ''}" for r in rows]
    return pd.DataFrame({"rank": [r.rank for r in rows], "neuron": named, **_effects(rows), **_means(rows)})


def ngrams_frame(rows: Sequence[NgramEffect]) -> pd.DataFrame:
    """The n-grams of a pole or a cluster; a cluster has no mean."""
    import pandas as pd

    named = [visible(r.ngram.text) for r in rows]
    means = _means(rows) if any(r.mean is not None for r in rows) else {}
    return pd.DataFrame({"rank": [r.rank for r in rows], "n-gram": named, **_effects(rows), **means,
                         "count": [r.ngram.count for r in rows]})  # fmt: skip


def clusters_frame(rows: Sequence[ClusterEffect], names: Mapping[tuple[str, int], str]) -> pd.DataFrame:
    import pandas as pd

    named = [f"{r.cluster} {visible(names.get((r.clustering, r.cluster), ''))}".strip() for r in rows]
    return pd.DataFrame({"clustering": [brief(r.clustering) for r in rows], "cluster": named, **_effects(rows)})


def contrast_facts(settings: Mapping[str, Any], facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sides, and how many neurons were found, beside what permuted labels give."""
    sides = [(side.upper(), f"{settings.get(side, '')}{_positions(facts.get(f'n_{side}'))}") for side in ("a", "b")]
    found, of = facts.get("n_found"), facts.get("n_neurons")
    if not isinstance(found, int):
        return sides
    text = f"{found:,}" + (f" of {of:,} neurons" if isinstance(of, int) else " neurons")
    text += f" with q <= {settings['max_q']:g}" if isinstance(settings.get("max_q"), int | float) else ""
    same = facts.get("n_same_side_held_out")
    text += f"; {same:,} of them on the same side on held-out text" if isinstance(same, int) else ""
    null = [n for n in facts.get("null_counts") or () if isinstance(n, int | float)]
    text += f"; permuted labels find {sum(null) / len(null):.1f} on average, at most {max(null):,}" if null else ""
    return [*sides, ("found", text)]


def _positions(n: Any) -> str:
    return f", {n:,} positions" if isinstance(n, int) else ""


def contrast_frame(rows: pd.DataFrame) -> pd.DataFrame:
    named = [f"L{layer}N{neuron}" for layer, neuron in zip(rows["layer"], rows["neuron"], strict=True)]
    frame = rows.assign(label=named).drop(columns="neuron").rename(columns={
        "label": "neuron", "auroc": "AUROC", "held_out_auroc": "held out", "held_out_low": "low",
        "held_out_high": "high", "mean_a": "mean A", "mean_b": "mean B", "n_a": "n A", "n_b": "n B",
    })  # fmt: skip
    return frame[["rank", "neuron", "held out", "low", "high", "AUROC", "difference", "q", "mean A", "mean B", "n A",
                  "n B"]].reset_index(drop=True)  # fmt: skip


def _effects(rows: Sequence[NeuronEffect] | Sequence[NgramEffect] | Sequence[ClusterEffect]) -> dict[str, Any]:
    import pandas as pd

    return {"effect": pd.array([r.effect for r in rows], dtype="Float64"),
            "held out": pd.array([r.held_out_effect for r in rows], dtype="Float64")}  # fmt: skip


def _means(rows: Sequence[NeuronEffect] | Sequence[NgramEffect]) -> dict[str, Any]:
    import pandas as pd

    return {"mean": pd.array([r.mean for r in rows], dtype="Float64")}
