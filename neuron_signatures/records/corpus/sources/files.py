"""Documents from a file or from all files of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.records.corpus.sources.formats import Reading, reader_of
from neuron_signatures.records.corpus.sources.items import NO_TEXT, NOT_UTF8, Item
from neuron_signatures.records.corpus.sources.opening import NotTextError
from neuron_signatures.runs.errors import UsageError


@dataclass(frozen=True)
class FileSource:
    """A file, or the files of a folder and its subfolders by the bytes of their relative paths.

    In a folder, hidden files and links that lead out of it are skipped, and so is a file that cannot be read from its
    first row on (not UTF-8, no text column); all are counted. A file that breaks later raises `UsageError`.
    """

    path: Path
    text_column: str
    max_document: int

    def describe(self) -> dict[str, Any]:
        return {"kind": "files", "path": str(self.path), "text_column": self.text_column}

    def items(self) -> Iterator[Item]:
        if not self.path.is_dir():
            yield from self._of_file(self.path, self.path.name)
            return
        for name in sorted(_files(self.path), key=os.fsencode):
            if (reason := _left_out(self.path, name)) is not None:
                yield Item(name, skipped=reason)
            else:
                yield from self._of_folder(name)

    def _of_folder(self, name: str) -> Iterator[Item]:
        n_read = 0
        try:
            for item in self._of_file(self.path / name, name):
                n_read += 1
                yield item
        except UsageError as e:
            if n_read:
                raise
            yield Item(name, skipped=NOT_UTF8 if isinstance(e, NotTextError) else "unreadable", detail=e.line())

    def _of_file(self, path: Path, name: str) -> Iterator[Item]:
        how = Reading(self.text_column, self.max_document)
        for place, text in reader_of(path)(path, how):
            yield Item(name + place, text) if text is not None else Item(name + place, skipped=NO_TEXT)


def _files(root: Path) -> Iterator[str]:
    """Relative paths of everything in a folder that is not a folder; links to folders are not followed."""
    for folder, subfolders, files in os.walk(root):
        links = [s for s in subfolders if (Path(folder) / s).is_symlink()]
        subfolders[:] = [s for s in subfolders if s not in links and not s.startswith(".")]
        for name in (*files, *links):
            yield str((Path(folder) / name).relative_to(root))


def _left_out(root: Path, name: str) -> str | None:
    path = root / name
    if path.name.startswith("."):
        return "hidden"
    if path.is_symlink() and (path.is_dir() or not _leads_into(path, root)):
        return "link"
    return None


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root.resolve())
    except (RuntimeError, OSError):  # a link to itself; RuntimeError before Python 3.13
        return False
