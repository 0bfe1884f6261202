"""How evidence looks in a prompt: lines of fenced text, highlighted tokens, and levels from 0 to 10."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.neuron import TokenTable
from neuron_signatures.explain.evidence.output import MeasuredChange, SteeredText, Writes
from neuron_signatures.llm.chat import Message
from neuron_signatures.llm.fencing import END_MARK, EXPLAINED, MARK, fence, fenced, fenced_tokens, heading

FULL = 10
"""Level of the largest activation."""
_STRONG = 5
"""Level from which a token of a highlighted excerpt is marked and listed, beside its strongest one."""
_LISTED = 5
"""Tokens of one excerpt that are listed with their levels, at most."""
PHRASE = (
    "Answer with one short phrase of at most 20 words that completes the sentence “The neuron is active on ...”. "
    "Name what the tokens or texts have in common. Give no list of words, no quotation and no comment."
)
QUESTION = "What is the neuron active on? Answer with one short phrase."


@dataclass(frozen=True)
class Instructions:
    """What is the same for all neurons: the task, examples of our own with their answers, and the question."""

    version: str
    task: str
    examples: tuple[tuple[list[str], str], ...]
    """Sections of an invented neuron as they would be shown, and the answer."""
    question: str = QUESTION
    max_tokens: int = 80
    """Of the answer."""

    def messages(self, sections: Sequence[str]) -> tuple[Message, ...]:
        """The prompt with these sections of evidence; only the last message differs between neurons."""
        turns = [Message("system", f"{self.task}\n\n{EXPLAINED}")]
        for shown, answer in self.examples:
            turns += [Message("user", self._asked(shown)), Message("assistant", answer)]
        return (*turns, Message("user", self._asked(sections)))

    def _asked(self, sections: Sequence[str]) -> str:
        return f"{fence(sections)}\n{self.question}"


def pairs(excerpts: Iterable[Excerpt], largest: float, *, only_active: bool = False) -> Iterator[str]:
    """`token<tab>level` for each token, below a heading per excerpt; `-` where positions do not count."""
    for number, excerpt in enumerate(excerpts, 1):
        yield heading(f"excerpt {number}")
        for token, level in zip(_alone(excerpt.tokens), excerpt.levels(largest).tolist(), strict=True):
            if level > 0 or not only_active:
                yield f"{token}\t{level if level >= 0 else '-'}"


def active_share(excerpts: Sequence[Excerpt], largest: float) -> float:
    """Share of the tokens that count with a level above 0; 0 without tokens."""
    levels: list[int] = [level for e in excerpts for level in e.levels(largest).tolist() if level >= 0]
    return sum(level > 0 for level in levels) / max(len(levels), 1)


def marked(excerpts: Iterable[Excerpt], largest: float) -> Iterator[str]:
    """Each excerpt on a numbered line with its strongest tokens marked."""
    for number, excerpt in enumerate(excerpts, 1):
        yield f"{number}. {_marked(fenced_tokens(excerpt.tokens), set(_strong(excerpt, largest)))}"


def listed(excerpts: Sequence[Excerpt], largest: float) -> Iterator[str]:
    """As `marked`; below each excerpt a line of the strongest tokens with their levels."""
    for line, excerpt in zip(marked(excerpts, largest), excerpts, strict=True):
        yield line
        levels, tokens = excerpt.levels(largest), fenced_tokens(excerpt.tokens)
        strong = _strong(excerpt, largest)[:_LISTED]
        yield "   " + ", ".join(f"{MARK}{tokens[i]}{END_MARK} {levels[i]}" for i in strong)


def numbered(excerpts: Iterable[Excerpt], largest: float) -> Iterator[str]:
    """Each excerpt on a numbered line; its strongest tokens of a level above 0 are marked and followed by the level.

    If all were, the text of a neuron that is active nearly everywhere could not be read.
    """
    for number, excerpt in enumerate(excerpts, 1):
        levels = excerpt.levels(largest).tolist()
        strongest = sorted((i for i, level in enumerate(levels) if level > 0), key=lambda i: (-levels[i], i))
        tokens = fenced_tokens(excerpt.tokens)
        for i in strongest[:_LISTED]:
            tokens[i] = f"{MARK}{tokens[i]}{END_MARK}[{levels[i]}]"
        yield f"{number}. {''.join(tokens)}"


def pointed(excerpts: Iterable[Excerpt], tokens: Set[str]) -> Iterator[str]:
    """Each excerpt on a numbered line; the token that it was cut around is marked if it is one of `tokens`."""
    for number, excerpt in enumerate(excerpts, 1):
        which = {excerpt.pos} if excerpt.tokens[excerpt.pos] in tokens else set()
        yield f"{number}. {_marked(fenced_tokens(excerpt.tokens), which)}"


def pinned(excerpts: Iterable[Excerpt]) -> Iterator[str]:
    """Each excerpt on a numbered line with the token that it was cut around marked."""
    for number, excerpt in enumerate(excerpts, 1):
        yield f"{number}. {_marked(fenced_tokens(excerpt.tokens), {excerpt.pos})}"


def token_table(table: TokenTable, n: int) -> Iterator[str]:
    """Token, mean activation (10 is the largest mean) and count, then the same of all tokens together."""
    largest = table.rows[0].mean
    for row in table.rows[:n]:
        yield f"{_quoted(row.token)}\t{FULL * row.mean / largest:.1f}\t{row.n}"
    yield f"all tokens\t{FULL * table.overall / largest:.1f}\t{table.n}"


def written(writes: Writes, n: int) -> Iterator[str]:
    """Both lists, with strengths of which 10 is the largest of both."""
    both = ((heading("made more likely"), writes.promotes), (heading("made less likely"), writes.suppresses))
    largest = max((w.score for _, side in both for w in side), default=1.0)
    for name, side in both:
        yield name
        yield from (f"{_quoted(w.token)}\t{FULL * w.score / largest:.1f}" for w in side[:n])


def measured(changes: Sequence[MeasuredChange], texts: Sequence[SteeredText]) -> Iterator[str]:
    """One line for each measured change of the output; no line if there is none."""
    if changes or texts:
        yield heading("measured")
    yield from map(_change, changes)
    for text in texts:
        how = "unchanged" if not text.amount else "raised" if text.amount > 0 else "lowered"
        yield f"after {_quoted(text.prompt)}, neuron {how}, the model writes {_quoted(text.text)}"


def _change(c: MeasuredChange) -> str:
    how = "raised" if c.after > c.before else "lowered"
    size = f"logit {c.effect:+.2f}" + ("" if c.probability is None else f", probability {c.probability:+.3f}")
    chance = "" if c.p is None else f" (p {c.p:.2g} against random neurons)"
    edit = f"neuron {how} from {c.before:.2f} to {c.after:.2f}"
    return f"after {_quoted(c.prompt)}, {edit}: {_quoted(c.token)} {size}{chance}"


def _strong(excerpt: Excerpt, largest: float) -> list[int]:
    """Positions of the strongest tokens, strongest first: from half of the largest on, else the excerpt's own peak."""
    levels = excerpt.levels(largest).tolist()
    least = min(_STRONG, max(levels))
    found = [i for i, level in enumerate(levels) if level >= least > 0] or [excerpt.pos]
    return sorted(found, key=lambda i: (-levels[i], i))


def _alone(tokens: Sequence[str]) -> list[str]:
    return [fenced(t) for t in tokens]


def _quoted(text: str) -> str:
    return f'"{fenced(text)}"'


def _marked(tokens: Sequence[str], which: set[int]) -> str:
    return "".join(f"{MARK}{t}{END_MARK}" if i in which else t for i, t in enumerate(tokens))
