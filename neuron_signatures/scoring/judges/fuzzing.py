"""`fuzzing`: are the marked tokens those at which the neuron is active?

After Paulo et al., Automatically Interpreting Millions of Features (arXiv 2410.13928), with windows and marks matched
between right and wrong ones (`matching`), so that a judge gains nothing from where or how many the marks are.
"""

from __future__ import annotations

from functools import partial

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.judges.judge import PER_REQUEST, Judge
from neuron_signatures.scoring.judges.matching import marked_examples
from neuron_signatures.scoring.judges.prompt import FUZZING
from neuron_signatures.scoring.judges.windows import Shown
from neuron_signatures.scoring.ngrams import longest_match
from neuron_signatures.scoring.tools import Tools


class FuzzingScorer(Judge):
    """Active windows with their own marks, against the same windows with each other's.

    `lookup` says that the marks are right if n-grams of its rule end at half of them or more.
    """

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools, "fuzzing", FUZZING, partial(marked_examples, per_request=PER_REQUEST), _rule_agrees)


def _rule_agrees(rule: Rule, shown: Shown) -> bool:
    return bool((longest_match(rule.ngrams, shown.text.tokens)[list(shown.marks)] >= 0).mean() >= 0.5)
