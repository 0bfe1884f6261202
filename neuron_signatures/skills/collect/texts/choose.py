"""Which of the texts that were read are used: one of equal ones, none of several classes, and so many of each class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.skills.names import Half
from neuron_signatures.runs.tokens import brief
from neuron_signatures.skills.collect.texts.demo import DEMO, DEMO_PER_CLASS, demo_texts
from neuron_signatures.skills.collect.texts.files import read_labelled
from neuron_signatures.skills.collect.texts.labelled import LabelledText


class ChosenText(NamedTuple):
    """A text that is used, with the hash of its characters."""

    text: str
    cls: str
    skill: str
    sha256: str

    @property
    def half(self) -> Half:
        """By the content alone, so that it depends neither on the order of texts nor on other texts."""
        return "find" if int(self.sha256[:8], 16) % 2 == 0 else "held_out"


class ChosenTexts(NamedTuple):
    """`n_duplicates` repeat an earlier text of their class; `n_ambiguous` are in several classes, and in none here."""

    texts: list[ChosenText]
    n_duplicates: int
    n_ambiguous: int


def read_texts(source: str, *, n_per_class: int | None, classes: Sequence[str] | None, seed: int) -> ChosenTexts:
    """The texts of `demo` or a file. `n_per_class` None takes all (of the demo world 200), `classes` None all classes.

    Raises `UsageError` for a file that cannot be read, an unknown class, or a class of fewer than two texts.
    """
    if source == DEMO:
        found: Iterable[LabelledText] = demo_texts(n_per_class or DEMO_PER_CLASS, seed)
    else:
        path = Path(source).expanduser()
        if not source or not path.exists():
            raise UsageError("there is no such file", where=f"--texts {source!r}", next_step="Give a file, or demo")
        found = read_labelled(path)
    return choose_texts(found, n_per_class=n_per_class, classes=classes, seed=seed, where=source)


def choose_texts(
    found: Iterable[LabelledText], *, n_per_class: int | None, classes: Sequence[str] | None, seed: int, where: str
) -> ChosenTexts:
    """As `read_texts`, from texts. Which `n_per_class` texts are used depends on their content and the seed only."""
    by_content: dict[str, list[ChosenText]] = {}
    n_read: Counter[str] = Counter()
    for row in found:
        n_read[row.cls] += 1
        if classes is None or row.cls in classes:
            sha256 = hashlib.sha256(row.text.encode()).hexdigest()
            by_content.setdefault(sha256, []).append(ChosenText(*row, sha256))
    _refuse_unknown(classes, n_read, where)
    ambiguous = [rows for rows in by_content.values() if len({r.cls for r in rows}) > 1]
    unique = [rows[0] for rows in by_content.values() if len({r.cls for r in rows}) == 1]
    n_ambiguous = sum(map(len, ambiguous))
    n_duplicates = sum(map(len, by_content.values())) - n_ambiguous - len(unique)
    texts = unique if n_per_class is None else _some_of_each_class(unique, n_per_class, seed)
    refuse_small_classes(Counter(t.cls for t in texts), where)
    return ChosenTexts(texts, n_duplicates, n_ambiguous)


def refuse_small_classes(n_texts: Counter[str], where: str) -> None:
    """Raise `UsageError` if there is no text, or a class has fewer than two."""
    if not n_texts:
        raise UsageError("there are no texts", where=where, next_step="Give a file with text, class and skill")
    for cls, n in sorted(n_texts.items()):
        if n < 2:
            what = f"class {brief(cls)!r} has {counted(n, 'text')}; a class needs at least 2"
            raise UsageError(what, where=where, next_step="Add texts, or leave the class out with --classes")


def _refuse_unknown(classes: Sequence[str] | None, n_read: Counter[str], where: str) -> None:
    for cls in classes or ():
        if cls not in n_read:
            names = ", ".join(brief(name) for name in sorted(n_read)[:20])
            raise UsageError(f"there is no class {brief(cls)!r}; there are {names}", where=where)


def _some_of_each_class(texts: Sequence[ChosenText], n: int, seed: int) -> list[ChosenText]:
    """At most `n` texts of each class, those with the smallest hash, in the given order."""
    by_class: dict[str, list[str]] = {}
    for text in texts:
        by_class.setdefault(text.cls, []).append(_rank(text, seed))
    last = {cls: sorted(ranks)[:n][-1] for cls, ranks in by_class.items()}
    return [text for text in texts if _rank(text, seed) <= last[text.cls]]


def _rank(text: ChosenText, seed: int) -> str:
    return hashlib.sha256(f"{seed} {text.sha256}".encode()).hexdigest()
