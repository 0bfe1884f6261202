"""What raters say: yes, no or uncertain about a unit and a class, and how it is read in the answer of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

from neuron_signatures.llm.chat import Answer
from neuron_signatures.llm.json_text import NotJson, json_answer
from neuron_signatures.llm.refusals import is_refusal
from neuron_signatures.scoring.asking import Failed

Verdict = Literal["yes", "no", "uncertain"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

HAND: Final = "hand"
ACTIVATIONS: Final = "activations"
EMBEDDING: Final = "embedding"
AUROC: Final = "auroc"
OWN_RATERS: Final = (HAND, ACTIVATIONS, EMBEDDING, AUROC)
"""Raters that are no language model."""


class Said(NamedTuple):
    """A valid answer of a model."""

    verdict: Verdict
    confidence: float


def read_verdict(answer: Answer) -> Said | Failed:
    """The verdict in an answer: JSON with exactly `answer` and `confidence`, and nothing around it."""
    if answer.status != "ok":
        return Failed(answer.status, answer.reason)
    if is_refusal(answer.text):
        return Failed("refused", "the answer is a refusal")
    try:
        value = json_answer(answer.text)
    except NotJson as e:
        return Failed("unparsable", str(e))
    if not isinstance(value, dict) or value.keys() != {"answer", "confidence"}:
        return Failed("unparsable", "the answer is not an object with answer and confidence")
    verdict, confidence = value["answer"], value["confidence"]
    if verdict not in VERDICTS:
        return Failed("unparsable", "the answer is not yes, no or uncertain")
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if not is_number or not 0 <= confidence <= 1:
        return Failed("unparsable", "the confidence is not a number from 0 to 1")
    return Said(verdict, float(confidence))


def consensus(verdicts: Sequence[Verdict]) -> Verdict | None:
    """What all samples of a model say together: the answer of more than half of them, else `uncertain`; None without
    any."""
    if not verdicts:
        return None
    best = max(VERDICTS, key=verdicts.count)
    return best if 2 * verdicts.count(best) > len(verdicts) else "uncertain"
