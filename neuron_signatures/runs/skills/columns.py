"""The columns of the tables in `skills/`, with their Arrow types.

Every table that names a unit has `source`, `site`, `layer` and `unit` (the column of the bank), and its label. In
tables of groups of banks an empty `site` means all sites, and a null `layer` all layers.
"""

from __future__ import annotations

from typing import Final

_BANK: Final = {"source": "string", "site": "string", "layer": "int32"}
_UNIT: Final = {**_BANK, "unit": "int32", "label": "string"}
_NULL: Final = {"null_mean": "double", "null_sd": "double", "p": "double", "n_null": "int32"}

TEXTS: Final = {
    "text": "int32", "class": "string", "skill": "string", "half": "string", "n_tokens": "int32",
    "truncated": "bool", "content": "string",
}  # fmt: skip
"""`text` counts from 0 in the order of the rows. `half` depends on the text alone. `content` is the text, or of a
truncated one a beginning that has all tokens that were read."""
FEATURES: Final = {
    "text": "int32", "class": "string", "skill": "string", "source": "string", "layer": "int32", "site": "string",
    "feature": "int32", "value": "float", "position": "int32", "token_id": "int32",
}  # fmt: skip
"""`feature` is the column of the bank: poles count. `position` counts BOS."""
GATES: Final = {
    **_BANK, "name": "string", "n_units": "int32", "l0": "double", "fvu": "double", "dead_share": "double",
    "n_tokens": "int64", "passed": "bool",
}  # fmt: skip
SIMILARITIES: Final = {
    "level": "string", "class_a": "string", "skill_a": "string", "class_b": "string", "skill_b": "string", **_BANK,
    "background": "string", "measure": "string", "vector": "string", "value": "double", "low": "double",
    "high": "double", **_NULL, "halves_mean": "double", "halves_low": "double", "halves_high": "double",
    "n_a": "int32", "n_b": "int32", "n_units": "int32",
}  # fmt: skip
"""`level` is `between` (two classes, empty skills) or `within` (two skills of a class). `low` to `high`: 95 % bootstrap
over texts. Null: labels permuted among the texts of both groups; `p` is the share of draws at most as similar.
`halves_*`: random halves of one group, both groups pooled: about the largest similarity that can be reached."""
SEPARATION: Final = {
    **_BANK, "background": "string", "measure": "string", "vector": "string", "within": "double", "between": "double",
    "difference": "double", "low": "double", "high": "double", **_NULL,
}  # fmt: skip
"""Mean similarity of random halves of a class less that of different classes; null: class labels permuted among all
texts; `p` is the share of draws with a difference at least as large."""
SPECIFIC: Final = {
    **_UNIT, "class": "string", "rank": "int32", "auroc": "double", "p": "double", "q": "double",
    "odds_ratio": "double", "share_in": "double", "share_out": "double", "mean_in": "double", "mean_out": "double",
    "held_out_auroc": "double", "held_out_low": "double", "held_out_high": "double", "held_out_odds_ratio": "double",
}  # fmt: skip
"""One row per unit and class. `rank` 1 is the largest AUROC on `find`, within source and class."""
FREQUENCIES: Final = {**_BANK, "class": "string", "low": "double", "high": "double", "n_units": "int32"}
"""Histogram of the share of texts of a class in which a unit fires; `low` ≤ share < `high`, the last bin both."""
PROBES: Final = {
    **_BANK, "level": "string", "class": "string", "penalty": "double", "n_units": "int32", "accuracy": "double",
    "low": "double", "high": "double", "control_accuracy": "double", "control_sd": "double", "n_controls": "int32",
    "selectivity": "double", "means_accuracy": "double", "majority": "double", "best_unit": "string",
    "best_unit_accuracy": "double", "best_unit_iou": "double",
}  # fmt: skip
"""`level` is `text` or `token`. Accuracies are balanced (mean of both classes' recall), on `held_out`. `penalty` is
relative to the smallest one without any unit. `means_accuracy` is of as many units by the difference of class means,
without a probe. `majority`: share of the more frequent label on `held_out`."""
UNIT_EXPLANATIONS: Final = {
    **_UNIT, "explanation": "string", "by": "string", "origin": "string", "where": "string", "retrieved_at": "string",
    "status": "string", "reason": "string", "score": "double", "score_name": "string",
}  # fmt: skip
"""`origin`: `file`, `run` or `neuronpedia`; `where`: address, file, or set and id; `by`: who wrote it, as the origin
says. `status`: `ok`, `none` (no explanation is known), or what failed. All rows of a unit stand together, the best one
first: that is the one that is classified. `score_name` is empty without a score."""
CLASSIFICATIONS: Final = {
    **_UNIT, "class": "string", "own_class": "string", "control": "string", "of_unit": "string",
    "explanation": "string", "rater": "string", "sample": "int32", "answer": "string", "confidence": "double",
    "status": "string", "reason": "string",
}  # fmt: skip
"""`rater`: `hand`, `activations`, `embedding`, `auroc`, or a language model (`local:NAME`); `answer`: `yes`, `no`,
`uncertain`, empty if it failed. `embedding` (the cosine) and `auroc` (held out) give a number in `confidence` and no
answer. `control` is `own`, or `other` where the explanation is that of the unit `of_unit` (empty otherwise).
`own_class` is the class for which the unit's AUROC on `find` is largest; empty if that is not known."""
AGREEMENT: Final = {
    "class": "string", "rater_a": "string", "rater_b": "string", "n": "int32", "n_units": "int32",
    "agreement": "double", "chance": "double", "kappa": "double", "low": "double", "high": "double",
    "null_sd": "double", "p": "double", "n_null": "int32", "auroc": "double", "auroc_low": "double",
    "auroc_high": "double",
}  # fmt: skip
"""An empty `class` is all classes. Of raters with answers (a sample of a model is `NAME #0`): agreement, what `chance`
gives by the shares of both raters' answers, and Cohen's kappa, whose chance level is 0; `null_sd` and `p` by permuting
the answers of one rater. Of a rater with a number (`rater_a`) the AUROC of that number for the other's yes against no,
whose chance level is 0.5. Intervals: 95 % bootstrap over units."""
CLASSIFICATION_CONTROLS: Final = {
    "rater": "string", "source": "string", "statistic": "string", "null": "string", "n": "int32", "value": "double",
    "null_mean": "double", "null_sd": "double", "p": "double", "n_null": "int32",
}  # fmt: skip
"""What a rater says about a unit's own class: `share_yes` (a failed answer is left out), or `mean_confidence` of a
rater with a number; beside the same with the explanations of other units. `null`: `permuted` (explanations permuted
among the units of a source, many draws) or `one_set` (one explanation of a unit of another class for each unit)."""
STEERING: Final = {
    **_UNIT, "role": "string", "for_class": "string", "of_unit": "string", "edit": "string", "dose": "double",
    "value": "double", "class": "string", "effect": "double", "against_others": "double", "class_tokens": "double",
    "kl": "double", "perplexity_ratio": "double", "n_texts": "int32",
}  # fmt: skip
"""`role`: `specific`, `random` or `matched`; controls name the unit that they are for in `of_unit`. `edit`: `add` or
`clamp`; `value` is the change in units of activation, or the length of an added vector. `effect`: change of the mean
log probability of the tokens of held-out texts of `class`, per text and then over texts; `against_others`: less the
mean over other classes; `class_tokens`: change of the log probability that the next token is one of the tokens of
`class`, in texts of the other classes. Null where the changed model's logits are not finite."""
STEERING_SUMMARY: Final = {
    **_UNIT, "class": "string", "edit": "string", "dose": "double", "role": "string", "outcome": "string",
    "chosen": "bool", "effect": "double", "low": "double", "high": "double", "control_mean": "double",
    "control_sd": "double", "control_low": "double", "control_high": "double", "n_controls": "int32",
    "n_undefined": "int32", "win_rate": "double", "win_low": "double", "win_high": "double", "p": "double",
    "kl": "double", "perplexity_ratio": "double", "control_kl": "double",
}  # fmt: skip
"""A row per specific unit, dose, kind of control (`role`) and `outcome` (`effect`, `against_others` or `class_tokens`,
whose value is in `effect`). `low` to `high`: 95 % bootstrap over texts; `control_low` to `control_high`: 5 to 95 % of
the controls.
`win_rate`: share of controls with a smaller effect. `chosen`: the dose of the claim. `n_undefined` controls without a
finite effect are left out. `control_kl`: median over the controls."""
STEERED_TEXTS: Final = {
    **_UNIT, "class": "string", "edit": "string", "dose": "double", "prompt": "string", "clean": "string",
    "steered": "string",
}  # fmt: skip
"""Continuations of neutral prompts by the most likely tokens, for people."""
