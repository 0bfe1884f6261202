"""Real English and code that every machine has: docstrings, source code, READMEs and descriptions of Python packages.

Nothing is imported or run. The documents are the same for the same set of packages, in the same order:

- packages: the standard library and all installed distributions but this project, by name;
- a `.py` file is either its docstrings (three in four) or its code, by a hash of its name: not both, because the two
  repeat each other and could be in different parts of the corpus;
- `.md`, `.rst` and `.txt` files and the long description of a distribution are documents as they are;
- tests, vendored packages, licences, data and generated files are left out, and of a package with very many files only
  `MAX_FILES` of each kind are used;
- a text has 200 to 2,000 characters; of a longer one a piece is used, drawn by a hash, because many texts say more than
  much of a few;
- a text is left out if half of its lines were in earlier texts (`Repeats`).

The order is by a hash of package and file name, so that any first part of it is a mixture of packages and kinds. Only
names are kept in memory, and hashes of one line in four.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import importlib.metadata
import json
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from neuron_signatures.records.corpus.sources.items import Item
from neuron_signatures.records.corpus.sources.local_text import (
    Repeats,
    excerpt,
    is_readable,
    joined_docstrings,
    without_legal_header,
)
from neuron_signatures.runs.opening import NotReadableError, read_regular

Kind = Literal["docstrings", "code", "text", "description"]

MAX_FILES = 1000
"""Files of each kind of one package."""
_MAX_BYTES = 1 << 20
_OWN = "neuron-signatures"
_LEFT_OUT_FOLDERS = {
    "test", "tests", "testing", "testdata", "_vendor", "vendor", "_vendored", "extern", "site-packages", "__pycache__",
    "node_modules", "data", "datasets_data", "idlelib", "lib2to3", "pydoc_data", "encodings", "bin", "include",
}  # fmt: skip
_LEFT_OUT_NAMES = re.compile(
    r"licen[cs]e|copying|notice|authors|contributors|requirements|top_level|entry_points|sources|record|installer|"
    r"vendored|conftest|test_|cmakelists|_test\.",
    re.IGNORECASE,
)
_TEXT = (".md", ".rst", ".txt")


class _File(NamedTuple):
    """A document before it is read; sorted by `order`. `path` is None for a description."""

    order: bytes
    package: str
    name: str
    kind: Kind
    path: Path | None


@dataclass(frozen=True)
class LocalSource:
    """Text of the packages that are installed beside this one."""

    def describe(self) -> dict[str, Any]:
        packages = {"python": platform.python_version()}
        packages |= {name: distribution.version for name, distribution in self._distributions.items()}
        digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
        return {"kind": "local", "packages": packages, "packages_sha256": digest}

    def items(self) -> Iterator[Item]:
        earlier = Repeats()
        for file in sorted(self._files()):
            text = excerpt(self._text(file), file.order)
            if is_readable(text):
                name = f"{file.package}: {file.name}" + (" (docstrings)" if file.kind == "docstrings" else "")
                yield Item(name, skipped="repeated") if earlier.repeats(text) else Item(name, text)

    @functools.cached_property
    def _distributions(self) -> dict[str, Distribution]:
        """By normalised name, ascending; the first on the path of each."""
        found: dict[str, Distribution] = {}
        for distribution in importlib.metadata.distributions():
            name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
            if name and name != _OWN:
                found.setdefault(name, distribution)
        return dict(sorted(found.items()))

    def _files(self) -> Iterator[_File]:
        yield from _some_of_each_kind(_standard_library())
        for name, distribution in self._distributions.items():
            yield _file(name, "description", "description", None)
            yield from _some_of_each_kind(_installed_files(name, distribution))

    def _text(self, file: _File) -> str:
        if file.path is None:
            metadata = self._distributions[file.package].metadata
            return str(metadata.get("Description") or metadata.get_payload() or "")  # type: ignore[attr-defined]
        try:
            text = read_regular(file.path, max_bytes=_MAX_BYTES).decode("utf-8-sig")
        except (OSError, NotReadableError, UnicodeDecodeError):
            return ""
        if file.kind == "text":
            return text
        return joined_docstrings(text) if file.kind == "docstrings" else without_legal_header(text)


def _installed_files(name: str, distribution: Distribution) -> Iterator[_File]:
    for entry in distribution.files or ():
        if (kind := _kind(name, entry)) is not None:
            yield _file(name, str(entry), kind, Path(str(entry.locate())))


def _standard_library() -> Iterator[_File]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in root.rglob("*.py"):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if (kind := _kind("python", relative)) is not None:
            yield _file("python", str(relative), kind, path)


def _kind(package: str, path: PurePosixPath) -> Kind | None:
    """What a file is used as; None if it is left out."""
    if ".." in path.parts or not _LEFT_OUT_FOLDERS.isdisjoint(p.lower() for p in path.parts[:-1]):
        return None
    if _LEFT_OUT_NAMES.search(path.name) or path.name.startswith("."):
        return None
    if path.suffix == ".py":
        return "docstrings" if _order("kind", package, str(path))[0] % 4 else "code"
    return "text" if path.suffix.lower() in _TEXT else None


def _file(package: str, name: str, kind: Kind, path: Path | None) -> _File:
    return _File(_order(package, name), package, name, kind, path)


def _some_of_each_kind(files: Iterable[_File]) -> list[_File]:
    """At most `MAX_FILES` files of each kind: the first ones in order."""
    by_kind: dict[str, list[_File]] = {}
    for file in files:
        by_kind.setdefault(file.kind, []).append(file)
    return [f for found in by_kind.values() for f in heapq.nsmallest(MAX_FILES, found)]


def _order(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]
