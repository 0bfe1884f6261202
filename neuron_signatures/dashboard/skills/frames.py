"""Tables of the view *Skills*: their columns in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.runs.tokens import brief

if TYPE_CHECKING:
    import pandas as pd

GATE_HELP = {
    "autoencoder": "Its site and layer.",
    "features": "Features of the autoencoder.",
    "L0": "Mean number of features above 0 at a token.",
    "FVU": "Share of the variance that it leaves unexplained: 0 is perfect, above 1 a wrong hook.",
    "dead": "Share of the features that are above 0 at no token of these texts.",
    "passed": "Whether FVU is at most 1.",
}
SPECIFIC_HELP = {
    "unit": "N: neuron, with a pole; F: feature of an autoencoder; D: direction. Click a neuron to open it.",
    "rank": "By AUROC on the texts of find, within source and class.",
    "AUROC": "On the texts on which it was found. Too high: the best of many.",
    "held out": "AUROC on texts that had no part in the choice. .5 is chance.",
    "low": "Lower end of the 95 % interval over held-out texts.",
    "high": "Upper end of the 95 % interval over held-out texts.",
    "q": "Mann-Whitney p on find, adjusted for all units (Benjamini-Hochberg).",
    "odds ratio": "Odds of firing in a text of the class against other texts, held out.",
    "in class": "Share of the texts of the class in which it fires (find).",
    "elsewhere": "Share of the other texts in which it fires (find).",
    "explanation": "What the unit is said to respond to.",
}
STEER_HELP = {
    "unit": "A unit that is specific for the class.",
    "control": "Units of the same bank at random, or those that fire about as often.",
    "effect": "Change of the mean log probability per token of held-out texts of the class, in nats.",
    "controls": "Mean effect of the controls.",
    "win rate": "Share of the controls with a smaller effect.",
    "p": "(1 + controls with at least this effect) / (1 + controls).",
    "KL": "Divergence from the unsteered model on neutral text, in nats: the price.",
    "perplexity": "Of neutral text, steered over unsteered.",
}
AGREEMENT_HELP = {
    "n": "Pairs of unit and class that both have rated.",
    "agreement": "Share of equal answers.",
    "kappa": "Cohen's kappa: agreement beyond chance; 0 is chance.",
    "AUROC": "Of a rater with a number: how well it orders the other's yes above no.",
}
THREE = "%.3f"


def gate_frame(gates: pd.DataFrame) -> pd.DataFrame:
    """The quality of each autoencoder."""
    names = [f"{site} L{layer}" for site, layer in zip(gates["site"], gates["layer"], strict=True)]
    return gates.assign(autoencoder=names, dead=gates["dead_share"]).rename(
        columns={"n_units": "features", "l0": "L0", "fvu": "FVU"}
    )[["autoencoder", "features", "L0", "FVU", "dead", "passed"]]


def specific_frame(rows: pd.DataFrame, explanations: dict[tuple[str, str, int, int], str]) -> pd.DataFrame:
    """The most specific units of one source and class."""
    keys = zip(rows["source"], rows["site"], rows["layer"], rows["unit"], strict=True)
    frame = rows.assign(explanation=[brief(explanations.get((s, i, int(n), int(u)), "")) for s, i, n, u in keys])
    frame = frame.drop(columns="unit").rename(columns={
        "label": "unit", "auroc": "AUROC", "held_out_auroc": "held out", "held_out_low": "low",
        "held_out_high": "high", "held_out_odds_ratio": "odds ratio", "share_in": "in class", "share_out": "elsewhere",
    })  # fmt: skip
    wanted = ["unit", "rank", "held out", "low", "high", "AUROC", "q", "odds ratio", "in class", "elsewhere"]
    return frame[[*wanted, *(["explanation"] if any(frame["explanation"]) else [])]]


def steer_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Steered units at one dose, against each kind of control."""
    frame = rows.drop(columns="unit").rename(columns={
        "label": "unit", "role": "control", "control_mean": "controls", "win_rate": "win rate", "win_low": "win low",
        "win_high": "win high", "kl": "KL", "perplexity_ratio": "perplexity", "n_controls": "n",
    })  # fmt: skip
    return frame[["unit", "edit", "dose", "control", "effect", "low", "high", "controls", "n", "win rate", "win low",
                  "win high", "p", "KL", "perplexity"]]  # fmt: skip


def agreement_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """How far raters agree."""
    frame = rows.assign(**{"class": rows["class"].fillna("").replace("", "all classes")})
    frame = frame.rename(columns={"rater_a": "rater", "rater_b": "against", "auroc": "AUROC"})
    columns = [
        "class",
        "rater",
        "against",
        "n",
        "agreement",
        "kappa",
        "low",
        "high",
        "AUROC",
        "auroc_low",
        "auroc_high",
    ]
    return frame[columns]
