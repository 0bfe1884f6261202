"""The public sets of texts of `prepare_skill_texts.py`: where they are, in which files, and what a text of each is."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.explain.exchange.reading import json_lines
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input

MAX_CSV = 1 << 30
_ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".csv")

TEXT = ("text", "content", "problem", "question", "prompt", "situation", "dialogue", "dialog", "utterance", "sentence")
CLASS = ("class", "dataset", "category", "domain", "source")
SKILL = ("skill", "type", "subject", "difficulty", "emotion", "context", "label", "topic", "level")
"""Names of columns in files of labelled texts, the first that a file has counts; case, spaces and hyphens do not."""

Row = Mapping[str, Any]


class Labelled(NamedTuple):
    """A text of a class. `skill` may be empty."""

    text: str
    cls: str
    skill: str


@dataclass(frozen=True)
class SkillSet:
    """`repo` is a data set of the Hub; `files` are the patterns of what is taken from it at `revision`."""

    name: str
    cls: str
    repo: str
    revision: str
    files: tuple[str, ...]
    licence: str
    needs: tuple[str, ...]
    """Columns without which a file is not of this set."""
    read: Callable[[Iterable[Row]], Iterator[tuple[str, str]]]
    """The texts with their skills."""


def read_set(found: SkillSet, folder: Path) -> Iterator[Labelled]:
    """All texts of a local copy, in the order of its files. Raises `UsageError` for files that are not of the set."""
    files = sorted(p for p in folder.rglob("*") if p.name.endswith(_ENDINGS) and p.is_file())
    if not files:
        what = f"has no file of {found.repo} ({', '.join(_ENDINGS)})"
        raise UsageError(what, where=str(folder), next_step="Copy the data set there, as it is on the Hub")
    for path in files:
        for text, skill in found.read(_checked(_rows(path), found.needs, path)):
            yield Labelled(text, found.cls, skill)


def read_labelled_csv(path: Path, cls: str) -> Iterator[Labelled]:
    """Labelled texts of any tool, with the columns `TEXT`, `SKILL` and perhaps `CLASS`; `cls` is that of all if given.

    Raises `UsageError` for a file without these columns.
    """
    names: dict[str, str] | None = None
    for number, row in enumerate(_rows(path), start=1):
        if names is None:
            plain = {re.sub(r"[\s-]+", "_", key.strip()).lower(): key for key in row}
            wanted = {"text": TEXT, "class": CLASS, "skill": SKILL}
            names = {
                what: next(plain[n] for n in of if n in plain) for what, of in wanted.items() if set(of) & set(plain)
            }
            if "text" not in names or not (cls or "class" in names):
                missing = "text" if "text" not in names else "class, and none is given (CLASS=FILE)"
                raise UsageError(f"has no column for {missing}", where=str(path), next_step="docs/skills.md")
        text = row.get(names["text"])
        label = cls or row.get(names["class"])
        if not isinstance(text, str) or not isinstance(label, str):
            raise UsageError("has a text or class that is no text", where=f"{path}, row {number}")
        yield Labelled(text, label.strip(), str(row.get(names.get("skill", "")) or "").strip())


def _math(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """The problem, without its solution; the skill is its type, such as `Algebra`."""
    return ((row["problem"], row["type"]) for row in rows)


def _apps(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """The question; the skill is its difficulty."""
    return ((row["question"], row["difficulty"]) for row in rows)


def _empathetic(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """A whole conversation, one utterance per line; the skill is the emotion. Rows of one stand together."""
    conversation, lines, emotion = None, [], ""
    for row in rows:
        if row["conv_id"] != conversation and lines:
            yield "\n".join(lines), emotion
            lines = []
        conversation, emotion = row["conv_id"], row["context"]
        if isinstance(row["utterance"], str):
            lines.append(row["utterance"].replace("_comma_", ",").strip())
    if lines:
        yield "\n".join(lines), emotion


def _mmlu(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """The question with its lettered choices, without the answer; the skill is the subject."""
    for row in rows:
        choices = row["choices"]
        choices = json.loads(choices) if isinstance(choices, str) else choices
        listed = [f"{letter}. {choice}" for letter, choice in zip("ABCDEFGHIJ", choices, strict=False)]
        yield "\n".join([row["question"], *listed]), row["subject"].replace("_", " ")


SETS = {
    s.name: s
    for s in (
        SkillSet("math", "mathematics", "EleutherAI/hendrycks_math", "main", ("*/*.parquet",), "MIT",
                 ("problem", "type"), _math),
        SkillSet("apps", "programming", "codeparrot/apps", "main", ("train.jsonl", "test.jsonl"), "MIT",
                 ("question", "difficulty"), _apps),
        SkillSet("empathetic", "empathy", "facebook/empathetic_dialogues", "refs/convert/parquet", ("**/*.parquet",),
                 "CC BY-NC 4.0", ("conv_id", "context", "utterance"), _empathetic),
        SkillSet("mmlu", "knowledge", "cais/mmlu", "main", ("all/test-*.parquet", "all/validation-*.parquet"), "MIT",
                 ("question", "subject", "choices"), _mmlu),
    )
}  # fmt: skip


def _checked(rows: Iterable[Row], needs: tuple[str, ...], path: Path) -> Iterator[Row]:
    """Rows with all columns; rows without a label or text are left out by the caller."""
    for number, row in enumerate(rows, start=1):
        if missing := [name for name in needs if name not in row]:
            raise UsageError(
                f"row {number} has no {missing[0]}", where=str(path), next_step="Is it of another data set?"
            )
        if all(row[name] is not None for name in needs):
            yield row


def _rows(path: Path) -> Iterator[Row]:
    if path.name.endswith(".parquet"):
        yield from _parquet(path)
    elif path.name.endswith(".csv"):
        reader = csv.DictReader(io.StringIO(read_text_input(path, max_bytes=MAX_CSV), newline=""))
        try:
            for row in reader:
                yield {key: value for key, value in row.items() if key}
        except csv.Error as e:
            raise UsageError(f"is no CSV ({e})", where=f"{path}, line {reader.line_num}") from e
    else:
        for number, value in json_lines(path):
            if not isinstance(value, dict):
                raise UsageError("is not an object", where=f"{path}, line {number}")
            yield value


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"cannot be read ({' '.join(str(e).split())[:120]})", where=str(path)) from e
