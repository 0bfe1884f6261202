"""`detection`: which of a few shuffled windows is the neuron active in?

After Paulo et al., Automatically Interpreting Millions of Features (arXiv 2410.13928).
"""

from __future__ import annotations

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.judges.judge import Judge
from neuron_signatures.scoring.judges.prompt import DETECTION
from neuron_signatures.scoring.judges.windows import Shown, plain_examples
from neuron_signatures.scoring.ngrams import longest_match
from neuron_signatures.scoring.tools import Tools


class DetectionScorer(Judge):
    """Active windows over the whole range of activations, against windows of the uniform sample that are silent.

    `lookup` says that the neuron is active in a window if an n-gram of its rule ends at a position that counts.
    """

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools, "detection", DETECTION, plain_examples, _rule_fires)


def _rule_fires(rule: Rule, shown: Shown) -> bool:
    return bool((longest_match(rule.ngrams, shown.text.tokens)[shown.text.counts] >= 0).any())
