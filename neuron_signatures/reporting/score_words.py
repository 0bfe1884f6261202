"""Scores in plain words: what each measures, on which scale it is drawn, and which ones are shown first."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.reporting.svg import Scale
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.scores.reader import ScoredSet, ScoreRow
from neuron_signatures.runs.tokens import brief

PLOT_WIDTH = 140.0
_MEANINGS = {
    "correlation": "correlation of predicted and true activations",
    "ev_correlation": "correlation over a neuron's strongest and random windows",
    "spearman": "rank correlation",
    "rsquared": "share of the variance explained",
    "absolute_dev_explained": "share of the absolute deviation explained",
    "auprc": "area under precision and recall of active positions",
    "auroc": "chance that an active position is predicted above an inactive one",
    "f1": "F1 of active positions",
    "iou": "overlap of predicted and active positions",
    "balanced_accuracy": "mean of the hit rates on active and on inactive",
    "mean_difference": "mean activation on written examples minus that on others",
    "choice": "share of judgements that pick the described text among three; chance is 1/3",
    "clarity": "do written examples activate it", "responsiveness": "do active texts fit the words",
    "purity": "do inactive texts not fit the words", "faithfulness": "does steering it bring the words about",
}  # fmt: skip
_SIGNED = ("correlation", "ev_correlation", "spearman", "rsquared", "absolute_dev_explained", "mean_difference")
_SAMPLES = {
    "uniform": "on a uniform sample of the corpus", "top_and_random": "on strongest and random windows",
    "sixty": "on sixty examples", "windows": "of whole windows",
}  # fmt: skip
UNDEFINED = {
    "constant_truth": "the neuron is never, or always, active there",
    "constant_prediction": "the prediction is the same everywhere", "too_few_examples": "too few active examples",
    "not_simulated": "nothing was predicted", "no_windows": "no windows",
}  # fmt: skip


def score_name(name: str) -> str:
    """`correlation/uniform` as `correlation, uniform`."""
    return brief(name).replace("/", ", ").replace("_", " ")


def meaning(name: str) -> str:
    """What a score measures; empty for an unknown one."""
    what, _, sample = name.partition("/")
    return " ".join(filter(None, (_MEANINGS.get(what, ""), _SAMPLES.get(sample, ""))))


def scorer_name(scorer: str, model: str | None) -> str:
    return brief(scorer) + (f" ({brief(model)})" if model else "")


def plot_scale(name: str, *, width: float = PLOT_WIDTH) -> Scale:
    """From -0.25 for scores that can be negative, else from 0, to 1."""
    return Scale(-0.25 if name.partition("/")[0] in _SIGNED else 0.0, 1.0, 5.0, width - 5.0)


def headline(scored: ScoredSet) -> str:
    """The score that stands for a scorer."""
    return scored.score_names[0] if scored.score_names else ""


def in_order(rows: Sequence[ScoreRow], headlines: Sequence[str]) -> list[ScoreRow]:
    """Simulators first, and of each scorer its headline first."""

    def order(row: ScoreRow) -> tuple[bool, str, str, bool]:
        return row.scorer not in SIMULATORS, row.scorer, row.scorer_model or "", row.score not in headlines

    return sorted(rows, key=order)


def undefined_words(reason: str) -> str:
    return UNDEFINED.get(reason, brief(reason).replace("_", " ") or "undefined")
