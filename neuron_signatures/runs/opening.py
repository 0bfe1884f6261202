"""Opening files that others may have prepared: regular files only, of a bounded size, and never written through links.

A run folder can come from a stranger, and a file in it can be a link to a file elsewhere, a pipe or a device. The part
of a path that the user named may contain links; the part below it may not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from neuron_signatures.runs.errors import BadRunError

# Windows has neither; its paths are checked with `lstat` before they are opened.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer would block `open`
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_BELOW_FOLDERS = os.open in os.supports_dir_fd


class NotReadableError(ValueError):
    """The file is not regular, or larger than its limit. The message is the reason."""


def open_regular(path: Path) -> BinaryIO:
    """A file for reading. Raises `NotReadableError` for a pipe, a device or a folder, and `OSError`."""
    try:
        fd = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    except OSError as e:
        if e.errno == errno.ENXIO:  # a socket
            raise NotReadableError("not a regular file") from e
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotReadableError("not a regular file")
    return os.fdopen(fd, "rb")


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file. Raises `NotReadableError`, also for more than `max_bytes`, and `OSError`."""
    with open_regular(path) as f:
        size = os.fstat(f.fileno()).st_size
        if size > max_bytes:
            raise NotReadableError(f"larger than {max_bytes} bytes")
        raw = f.read(max_bytes + 1)  # a file of /proc has size 0
    if len(raw) > max_bytes:
        raise NotReadableError(f"larger than {max_bytes} bytes")
    return raw


@contextlib.contextmanager
def folder_below(folder: Path, name: str, *, create: bool = False) -> Iterator[Path | int]:
    """The folder `name` (`""`, `analysis`, ...) of the folder that the user named, for the functions below.

    A descriptor, or a path on Windows. Raises `BadRunError` if `name` is a link or no folder, and `OSError`.
    """
    path = folder / name
    if create:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
    if name and (path.is_symlink() or (path.exists() and not path.is_dir())):
        raise _refused(path, "is a link" if path.is_symlink() else "is not a folder")
    if not _BELOW_FOLDERS:
        yield path
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _BINARY | (_NO_LINK if name else 0))
    try:
        yield fd
    finally:
        os.close(fd)


def create_file(folder: Path | int, name: str) -> BinaryIO:
    """A new, empty file for writing and reading. Raises `FileExistsError`, also if `name` is a link."""
    return os.fdopen(_open_at(folder, name, os.O_RDWR | os.O_CREAT | os.O_EXCL), "w+b")


def open_in_place(folder: Path, name: str, *, below: str = "") -> int:
    """A descriptor for reading and changing a file of a run in place, which is created if it is missing.

    The file lies in the subfolder `below`, which is created too. It may have a second name (`has_second_name`), and
    then must not be changed. Raises `BadRunError` if it or the subfolder is a link, or it is not a regular file, and
    `OSError`.
    """
    path = folder / below / name
    with folder_below(folder, below, create=bool(below)) as at:
        try:
            try:
                return _open_at(at, name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                fd = _open_at(at, name, os.O_RDWR)
        except OSError as e:
            if path.is_symlink():
                raise _refused(path, "is a link") from e
            if e.errno in (errno.ENXIO, errno.EISDIR):  # a socket or pipe, a folder
                raise _refused(path, "is not a regular file") from e
            raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _refused(path, "is not a regular file")
    return fd


def has_second_name(fd: int) -> bool:
    """Whether the file has another hard link, such as a copy by `cp -al`, which a change would change too."""
    return os.fstat(fd).st_nlink > 1


def replace_file(folder: Path | int, old: str, new: str) -> None:
    """Rename a file in its folder, over an existing file or link, but not through the link."""
    if isinstance(folder, int):
        os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        (folder / old).replace(folder / new)


def remove_file(folder: Path | int, name: str) -> None:
    """Remove a file or link, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder) if isinstance(folder, int) else (folder / name).unlink()


def sync_folder(folder: Path | int) -> None:
    """Make renames in the folder durable; Windows has no such call."""
    if isinstance(folder, int):
        os.fsync(folder)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise `BadRunError` if one of these files or subfolders is a link."""
    for name in names:
        if (folder / name).is_symlink():
            raise _refused(folder / name, "is a link")


def _open_at(folder: Path | int, name: str, flags: int) -> int:
    flags |= _NO_LINK | _NO_WAIT | _BINARY
    if isinstance(folder, int):
        return os.open(name, flags, 0o666, dir_fd=folder)
    if (folder / name).is_symlink():
        raise OSError(errno.ELOOP, "is a link", str(folder / name))
    return os.open(folder / name, flags, 0o666)


def _refused(path: Path, what: str) -> BadRunError:
    next_step = "Remove it, if you know where this folder comes from"
    return BadRunError(f"{what}, so nothing is written to it", where=str(path), next_step=next_step)
