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
    "status": "string", "score": "double",
}  # fmt: skip
"""`origin`: `neuronpedia`, `file` or `run`; `where`: address or file; `status`: `ok`, `none`, or what failed."""
CLASSIFICATIONS: Final = {
    **_UNIT, "class": "string", "explanation": "string", "rater": "string", "sample": "int32", "answer": "string",
    "confidence": "double", "status": "string",
}  # fmt: skip
"""`rater`: `hand`, `embedding`, or a language model; `answer`: `yes`, `no`, `uncertain`, empty if it failed. Of
`embedding`, `confidence` is the cosine and there is no answer."""
AGREEMENT: Final = {
    "class": "string", "rater_a": "string", "rater_b": "string", "n": "int32", "agreement": "double",
    "kappa": "double", "low": "double", "high": "double", "auroc": "double", "auroc_low": "double",
    "auroc_high": "double",
}  # fmt: skip
"""An empty `class` is all classes. Of raters with answers, agreement and Cohen's kappa; of a rater with a number
(`embedding`, `auroc`: the unit's own AUROC for the class) the AUROC of that number for the other's yes against no."""
STEERING: Final = {
    **_UNIT, "role": "string", "for_class": "string", "of_unit": "string", "edit": "string", "dose": "double",
    "value": "double", "class": "string", "effect": "double", "against_others": "double", "kl": "double",
    "perplexity_ratio": "double", "n_texts": "int32",
}  # fmt: skip
"""`role`: `specific`, `random` or `matched`; controls name the unit that they are for in `of_unit`. `edit`: `add` or
`clamp`; `value` is the change in units of activation, or the length of an added vector. `effect`: change of the mean
log probability of the tokens of held-out texts of `class`, per text and then over texts; `against_others`: less the
mean over other classes. Null where the changed model's logits are not finite."""
STEERING_SUMMARY: Final = {
    **_UNIT, "class": "string", "edit": "string", "dose": "double", "role": "string", "outcome": "string",
    "chosen": "bool", "effect": "double", "low": "double", "high": "double", "control_mean": "double",
    "control_sd": "double", "control_low": "double", "control_high": "double", "n_controls": "int32",
    "n_undefined": "int32", "win_rate": "double", "win_low": "double", "win_high": "double", "p": "double",
    "kl": "double", "perplexity_ratio": "double", "control_kl": "double",
}  # fmt: skip
"""A row per specific unit, dose, kind of control (`role`) and `outcome` (`effect` or `against_others`, whose value is
in `effect`). `low` to `high`: 95 % bootstrap over texts; `control_low` to `control_high`: 5 to 95 % of the controls.
`win_rate`: share of controls with a smaller effect. `chosen`: the dose of the claim. `n_undefined` controls without a
finite effect are left out. `control_kl`: median over the controls."""
STEERED_TEXTS: Final = {
    **_UNIT, "class": "string", "edit": "string", "dose": "double", "prompt": "string", "clean": "string",
    "steered": "string",
}  # fmt: skip
"""Continuations of neutral prompts by the most likely tokens, for people."""
