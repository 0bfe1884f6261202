"""The prompt that asks whether an explanation belongs to a class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from neuron_signatures.llm.chat import ChatRequest, Message
from neuron_signatures.llm.fencing import EXPLAINED, fence, fenced

PROMPT_VERSION: Final = "unit-class-1"
MAX_SHOWN: Final = 2000
"""Characters of an explanation in a prompt."""

_SYSTEM: Final = (
    "You sort descriptions of units inside a language model by the kind of text that they belong to. A description "
    "says what a unit responds to. It belongs to a class if texts of that class are where the unit would be active "
    "much more often than in texts of the other classes. A description of something that all kinds of text have, such "
    "as punctuation, belongs to no class."
)
_TASK: Final = (
    'Answer with one JSON object and nothing else: {{"answer": {options}, "confidence": a number from 0 to 1}}. '
    "Answer uncertain only if the description does not allow a decision."
)
_ORDERS: Final = ('"yes", "no" or "uncertain"', '"no", "yes" or "uncertain"')


def classify_request(
    explanation: str, name: str, classes: Mapping[str, str], *, sample: int, seed: int, max_tokens: int
) -> ChatRequest:
    """Whether the explanation belongs to the class called `name`, of `classes` with their descriptions.

    At temperature 0 the same request has the same answer, so samples differ in what must not matter: the order of the
    classes (sample 0 has the given one, others a drawn one), the order of the options, and the seed.
    """
    names = list(classes)
    rng = np.random.default_rng([seed, sample])
    order = names if sample == 0 else [names[i] for i in rng.permutation(len(names))]
    listed = "\n".join(f"- {fenced(n)}: {fenced(classes[n])}" for n in order)
    question = f"Does the description of this unit belong to the class {fenced(name)}?"
    task = _TASK.format(options=_ORDERS[sample % 2])
    user = "\n\n".join([
        f"The classes:\n{listed}",
        f"{question} {EXPLAINED}",
        fence([fenced(explanation[:MAX_SHOWN])]),
        f"{question} {task}",
    ])  # fmt: skip
    return ChatRequest((Message("system", _SYSTEM), Message("user", user)), max_tokens, 0.0, _seed(seed, sample))


def prompt_sha256() -> str:
    """Of the prompt about a fixed example, in both orders of the options."""
    requests = [
        classify_request("sums", "a", {"a": "x", "b": "y"}, sample=s, seed=0, max_tokens=1) for s in range(len(_ORDERS))
    ]
    text = "\n".join(message.content for r in requests for message in r.messages)
    return hashlib.sha256(f"{PROMPT_VERSION}\n{text}".encode()).hexdigest()


def _seed(seed: int, sample: int) -> int:
    """A number of 31 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed} {sample}".encode()).digest()[:4], "big") >> 1
