"""What a judge is asked: an explanation and numbered texts in, a list of zeros and ones out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.llm.chat import Message
from neuron_signatures.llm.fencing import END_MARK, EXPLAINED, MARK, fence, fenced, fenced_tokens, heading
from neuron_signatures.scoring.judges.windows import Shown

NO_EXPLANATION = "(none)"
"""In place of an empty explanation."""


class Invented(NamedTuple):
    """An example of our own: no model has this neuron."""

    explanation: str
    texts: tuple[str, ...]
    """Of tokens; those in `{}` are marked."""
    verdicts: tuple[int, ...]


@dataclass(frozen=True)
class JudgePrompt:
    """What is the same for all neurons: the task, examples with their answers, and the question about `{n}` texts."""

    version: str
    task: str
    question: str
    examples: tuple[Invented, ...]

    def messages(self, explanation: str, shown: Sequence[Shown]) -> tuple[Message, ...]:
        """The prompt about these windows; only the last message differs between neurons."""
        turns = [Message("system", f"{self.task}\n\n{EXPLAINED}")]
        for example in self.examples:
            lines = [text.replace("{", MARK).replace("}", END_MARK) for text in example.texts]
            turns += [self._asked(example.explanation, lines), Message("assistant", _answer(example.verdicts))]
        return (*turns, self._asked(explanation, [line_of(one) for one in shown]))

    def _asked(self, explanation: str, lines: Sequence[str]) -> Message:
        sections = [
            heading("explanation"), fenced(explanation.strip()) or NO_EXPLANATION, heading("texts"),
            *(f"{number}. {line}" for number, line in enumerate(lines, 1)),
        ]  # fmt: skip
        return Message("user", f"{fence(sections)}\n{self.question.format(n=len(lines))}")


def line_of(shown: Shown) -> str:
    """A window on one line, with its marks."""
    marks = set(shown.marks)
    tokens = fenced_tokens(shown.text.tokens)
    return "".join(f"{MARK}{t}{END_MARK}" if i in marks else t for i, t in enumerate(tokens))


def _answer(verdicts: Sequence[int]) -> str:
    return f"[{', '.join(map(str, verdicts))}]"


_WEIGHTS = "units of weight after a quantity"
_BANS = "negations in rules that forbid something"
_FORMAT = (
    "Answer with nothing but a JSON list that has one number per text, in the order of the texts. Any number of the "
    "texts can be 1: all, some or none."
)

DETECTION = JudgePrompt(
    "detect-1",
    "You check an explanation of one neuron of a language model. You are given the explanation, which says what the "
    "neuron is active on, and numbered texts. Decide for each text whether it contains what the explanation "
    "describes, so that the neuron is active at one or more of its tokens: 1 if so, 0 if not. A text need not be about "
    f"it as a whole: one token that fits is enough. {_FORMAT}",
    "In which of the {n} texts is the neuron active? Answer with a JSON list of {n} numbers, each 0 or 1.",
    (
        Invented(
            _WEIGHTS,
            (
                "The sack held twelve pounds of flour and a jar of honey.",
                "He paid forty pounds for the coat and left.",
                " It took twelve minutes to fill the bath.",
                " lifted 80 kilograms before lunch, then rested.",
                " Add two ounces of butter, then stir for ten minutes.",
            ),
            (1, 0, 0, 1, 1),
        ),
        Invented(
            _BANS,
            (
                " She did not see the train leave.",
                " The garden is open on Sundays from ten to four.",
                "Visitors must not feed the animals. Dogs are welcome.",
                " the lake was calm, and nobody had come yet.",
                " We never knew who wrote the letter.",
            ),
            (0, 0, 1, 0, 0),
        ),
    ),
)

FUZZING = JudgePrompt(
    "fuzz-1",
    "You check an explanation of one neuron of a language model. You are given the explanation, which says what the "
    f"neuron is active on, and numbered texts in which some tokens are marked: they are between {MARK} and {END_MARK}. "
    "The neuron is active in every text, but in some of them the marks are in the wrong places. Decide for each text "
    "whether the marked tokens are those at which the neuron is active: 1 if they fit the explanation, 0 if not. An "
    f"activation depends on the token and on the tokens before it, never on later ones. {_FORMAT}",
    "In which of the {n} texts do the marked tokens fit the explanation? Answer with a JSON list of {n} numbers, each "
    "0 or 1.",
    (
        Invented(
            _WEIGHTS,
            (
                "The sack held twelve{ pounds} of flour and a jar of honey.",
                " He{ paid} forty ounces of silver for the coat.",
                " It takes ten minutes to{ melt} a pound{ of} butter.",
                " lifted 80{ kil}{ograms} before lunch, then rested.",
                " Add two{ ounces} of butter, then stir for ten minutes.",
            ),
            (1, 0, 0, 1, 1),
        ),
        Invented(
            _BANS,
            (
                "No{ dogs} are allowed on the beach.",
                " It is not permitted to smoke{ in} the hall{.}",
                "Visitors must{ not} feed the animals. Dogs are welcome.",
                " You may never{ open} this door.",
                " The keys may not be{ copied} without a permit.",
            ),
            (0, 0, 1, 0, 0),
        ),
    ),
)
