"""Reads an explanation out of an answer.

What is taken away, in this order: a block `<think>...</think>` at the start; white space; a first line that only
announces the answer (it ends with a colon); one bullet; a label such as `Explanation:`; quotation marks and Markdown
marks around the whole; and a frame `The neuron fires on ...`, because the prompt asks for what completes it. Of several
paragraphs the first is taken. Nothing inside the phrase is changed, and whatever is then no short phrase is refused.
"""

from __future__ import annotations

import re

from neuron_signatures.explain.explainers.invented import ANSWERS
from neuron_signatures.llm.refusals import without_thinking
from neuron_signatures.runs.explanations.names import Explainer

FIRES_ON, SAYS = "fires on", "makes the model say"
MAX_WORDS, MAX_CHARACTERS = 60, 500
"""Of one phrase; 20 words are asked for."""
_LISTED_WORDS = 6
"""Items of at most two words from which commas make a list of words."""

_ANNOUNCEMENT = re.compile(r"\A[^\n.]{1,120}:[ \t*_]*\n\s*(?=\S)")
_LABEL = re.compile(
    r"\A[*_#\s]*(?:(?:final |short )?(?:explanation|answer|phrase|description|summary|response))[*_]*\s*:[*_\s]*",
    re.IGNORECASE,
)
_FRAME = re.compile(
    r"\A(?:based on [^,\n]{1,80}, )?(?:(?:this|the) (?:\w+ )?neuron|it) (?:\w+ly )?"
    r"(?:fires|activates|responds|is active|(?:is|seems|appears)(?: to be)?(?: \w+ly)? (?:active|activated)"
    r"|(?:seems|appears) to (?:fire|activate|respond))(?: \w+ly)? (?:on|for|to|at|by) (?=\S)",
    re.IGNORECASE,
)
_SAYS_FRAME = re.compile(r"\A(?:this|the) (?:\w+ )?neuron makes the model (?:say|predict) (?=\S)", re.IGNORECASE)
_BULLET = re.compile(r"\A\s*(?:[-*•\u2013]|\(?\d{1,2}[.)])\s+\S")
_ONE_BULLET = re.compile(r"\A\s*(?:[-*\u2013]\s+|•\s*)(?=\S)")
_PAIRS_OF_MARKS = (
    ('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("**", "**"), ("*", "*"), ("`", "`"),
    ("_", "_"),
)  # fmt: skip


class UnparsableAnswer(ValueError):
    """The answer is not what the prompt asked for. `str()` says why."""


def read_answer(explainer: Explainer, text: str) -> str:
    """The explanation in an answer, one line: a phrase, of `both` `fires on ...; makes the model say ...`.

    Raises `UnparsableAnswer` for an empty answer, one that is too long, a list, one without the two parts, or that of
    an example in the prompt, which small models repeat.
    """
    text = _without_thinking(text)
    if explainer != "both":
        return _own(_phrase(text))
    fires, says = map(_phrase, _two_parts(text))
    return f"{FIRES_ON} {_own(fires)}; {SAYS} {says}"


def _without_thinking(text: str) -> str:
    text = without_thinking(text).strip()
    if text.lower().startswith("<think>"):
        raise UnparsableAnswer("the answer ends before its thinking does")
    if not text:
        raise UnparsableAnswer("the answer is empty")
    return text


def _two_parts(text: str) -> tuple[str, str]:
    label = r"(?:^|(?<=[.;\n]))[\s>*_#-]*(?:\d[.)]\s*)?[*_]*{}[*_]*\s*:?[*_]*[ \t]*"
    first = re.search(label.format(FIRES_ON), text, re.IGNORECASE | re.MULTILINE)
    second = re.search(label.format(SAYS), text, re.IGNORECASE | re.MULTILINE)
    if first is None or second is None or second.start() < first.end():
        raise UnparsableAnswer(f"the answer lacks “{FIRES_ON}” and then “{SAYS}”")
    return text[first.end() : second.start()].rstrip(" ;,\n"), text[second.end() :]


def _phrase(text: str) -> str:
    """One phrase without what is around it."""
    text = _unwrapped(_LABEL.sub("", _ANNOUNCEMENT.sub("", text.strip(), count=1)))
    lines = [line for line in text.splitlines() if line.strip()]
    if sum(_BULLET.match(line) is not None for line in lines) >= 2:
        raise UnparsableAnswer("the answer is a list")
    found = _unwrapped(_LABEL.sub("", _ONE_BULLET.sub("", lines[0]))) if lines else ""
    found = _unwrapped(_SAYS_FRAME.sub("", _FRAME.sub("", found)))
    found = " ".join(found.split())
    bare = found.rstrip(".!?:")
    frame = _FRAME.match(f"{bare} .")
    if not any(c.isalnum() for c in found) or (frame and frame.end() > len(bare)):
        raise UnparsableAnswer("the answer is empty")
    if len(found.split()) > MAX_WORDS or len(found) > MAX_CHARACTERS:
        raise UnparsableAnswer(f"the answer is longer than {MAX_WORDS} words or {MAX_CHARACTERS} characters")
    items = [item.split() for item in found.split(",")]
    if len(items) >= _LISTED_WORDS and all(len(item) <= 2 for item in items):
        raise UnparsableAnswer("the answer is a list of words")
    return found


def _own(phrase: str) -> str:
    if phrase.casefold().rstrip(".") in ANSWERS:
        raise UnparsableAnswer("the answer repeats an example of the prompt")
    return phrase


def _unwrapped(text: str) -> str:
    """Without quotation or Markdown marks that enclose the whole: they occur nowhere else in it, or it is a sentence
    about the neuron."""
    text = text.strip()
    for first, last in _PAIRS_OF_MARKS:
        for end in ("", "."):  # “...”.
            whole = text.removesuffix(end)
            inner = whole[len(first) : len(whole) - len(last)]
            encloses = inner and whole.startswith(first) and whole.endswith(last)
            if encloses and ((first not in inner and last not in inner) or _FRAME.match(inner)):
                return _unwrapped(inner)
    return text
