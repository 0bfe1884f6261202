"""The result of a contrast as a table for display."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuron_signatures.analysis.contrast.analyze import ContrastResult
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import Descriptions, shown_tokens

MOST = 100
BAR = "|score|"
HELP = {
    "neuron": "Click a cell of the row to open it. + or -: the sign of the side with the larger mean.",
    "score": "How much higher the neuron is on A than on B; the rows are in order of its magnitude.",
    "AUROC": "The probability that a prompt of A exceeds one of B; 0.5 is chance.",
    "d": "Effect size: difference of the means over their pooled standard deviation (paired: of the differences).",
    "p": "Two-sided rank test of the prompts, normal approximation with ties.",
    "q": "p after Benjamini and Hochberg over all neurons of the run.",
    "promotes": "The tokens whose logits the neuron raises most at this sign, from its weights.",
    "fires on": "Its signature with the number of texts, or its most frequent peak token and the token of its largest "
    "peak.",
    "most often on": "The tokens at the peaks of the strongest windows of a corpus at this sign, with the share of the "
    "first.",
}


def first_rows(result: ContrastResult) -> pd.DataFrame:
    """The first `MOST` neurons by |score|, undefined scores last; ties in the order of neurons."""
    score = result.frame["score"].abs().fillna(-np.inf)
    return result.frame.iloc[np.argsort(-score.to_numpy(), kind="stable")[:MOST]].reset_index(drop=True)


def contrast_frame(first: pd.DataFrame, described: Descriptions) -> pd.DataFrame:
    """Neuron, score, test, means, and what is known of the neuron, without columns that are empty."""
    about = [
        described.of(NeuronAt(int(layer), int(neuron)), negative=pole == "-")
        for layer, neuron, pole in zip(first["layer"], first["neuron"], first["pole"], strict=True)
    ]
    frame = pd.DataFrame(
        {
            "neuron": [
                f"L{la}N{n}{p}" for la, n, p in zip(first["layer"], first["neuron"], first["pole"], strict=True)
            ],
            "score": first["score"],
            BAR: first["score"].abs(),
            "promotes": [shown_tokens(d.promotes) for d in about],
            "fires on": [d.fires for d in about],
            "most often on": [d.often.text_with_share() for d in about],
            "AUROC": first["auroc"],
            "d": first["d"],
            "mean A": first["mean_a"],
            "mean B": first["mean_b"],
            "p": first["p"],
            "q": first["q"],
        }
    )
    return frame.drop(columns=[c for c in ("promotes", "fires on", "most often on") if not frame[c].astype(bool).any()])


def found_sentence(result: ContrastResult) -> str:
    """How many neurons tell the sides apart, beside what shuffled labels give."""
    null, most = result.null_counts, result.config.max_q
    text = f"{result.n_found:,} of {result.n_tested:,} neurons have q ≤ {most:g}"
    if not null:
        return text
    return f"{text}; with shuffled labels {np.mean(null):.1f} on average, at most {max(null):,} ({len(null)} draws)"
