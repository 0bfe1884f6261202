"""Which text of an installed package a person would read, its docstrings, and which texts repeat earlier ones."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings

from neuron_signatures.records.corpus.sources.cutting import pieces

SHORTEST, LONGEST = 200, 2_000
"""Characters of a document."""
_LONG_LINE = 1000
_MEAN_LINE = 200
_SHARE_OF_LETTERS = 0.5
_GENERATED = re.compile(r"@generated|do not edit|auto-?generated|automatically generated", re.IGNORECASE)
_LEGAL = re.compile(r"copyright|licen[cs]e|SPDX", re.IGNORECASE)
_HEADER = re.compile(r"\A(?:\s*#[^\n]*\n)+")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_LINE_LETTERS = 20
"""Letters of a line that says enough to be compared."""
_SAMPLED = 4
"""One in this number of lines is compared."""
_SAME_SHARE = 0.5


def is_readable(text: str) -> bool:
    """Whether this is prose or code: long enough, mostly letters and spaces, without very long lines, not generated."""
    if not SHORTEST <= len(text) <= LONGEST or _GENERATED.search(text, 0, 2000) or "\0" in text:
        return False
    lines = text.splitlines()
    if max(map(len, lines)) > _LONG_LINE or len(text) > _MEAN_LINE * len(lines):
        return False
    return sum(c.isalpha() or c == " " for c in text) >= _SHARE_OF_LETTERS * len(text)


def without_legal_header(code: str) -> str:
    """Source code without its leading comments, if these are about copyright; they repeat in most files."""
    header = _HEADER.match(code)
    return code[header.end() :].lstrip("\n") if header and _LEGAL.search(header[0]) else code


def joined_docstrings(code: str) -> str:
    """The docstrings of a module and of its classes and functions, in order, each after the name that it documents.

    The code is parsed and never run; empty if it is not valid Python.
    """
    try:
        with warnings.catch_warnings():  # of invalid escapes
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    found: list[str] = []
    _collect(tree, "", found)
    return "\n\n".join(found)


def excerpt(text: str, order: bytes) -> str:
    """The text, or one of its pieces of at most `LONGEST` characters, drawn by `order`, the hash of its file.

    Many texts say more than much of a few: lists keep one window of each. Pieces end with a paragraph or a line.
    """
    found = [p for p in pieces([text], LONGEST) if len(p) >= SHORTEST]
    return found[int.from_bytes(order, "big") % len(found)] if found else ""


class Repeats:
    """Recognises texts that repeat earlier ones: the licence of another year, the generated twin of a module.

    Lines are compared by their letters alone, without case, digits and punctuation. A text repeats if at least half of
    its lines were in earlier texts. One line in four is compared, chosen by its hash; holds 8 bytes of each such hash.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def repeats(self, text: str) -> bool:
        """Whether the text repeats earlier ones; from now on it is an earlier one."""
        lines = {h for line in text.splitlines() if (h := _line_hash(line)) is not None}
        n_seen = len(lines & self._seen)
        self._seen |= lines
        return bool(lines) and n_seen >= _SAME_SHARE * len(lines)


def _line_hash(line: str) -> int | None:
    """The hash of a line that is compared; None for the others."""
    letters = _NOT_LETTERS.sub("", line.lower())
    if len(letters) < _LINE_LETTERS:
        return None
    number = int.from_bytes(hashlib.blake2b(letters.encode(), digest_size=8).digest(), "little")
    return number if number % _SAMPLED == 0 else None


def _collect(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, path: str, found: list[str]
) -> None:
    text = ast.get_docstring(node)
    if text:
        found.append(f"{path}\n{text}" if path else text)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _collect(child, f"{path}.{child.name}" if path else child.name, found)
