"""Putting something else in the place of a file or folder of a run: links, pipes, sockets, devices, folders."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

Trap = Callable[[Path, Path], None]


def set_trap(rng: random.Random, path: Path, victim: Path) -> str:
    """Replace `path` (a file, a folder or nothing) and return what was done. Links lead to the folder `victim`."""
    trap = rng.choice(FOLDER_TRAPS if path.is_dir() and rng.random() < 0.7 else FILE_TRAPS)
    old = path.with_name(f".original-{path.name}"[:200])
    if os.path.lexists(path):
        path.rename(old)
    trap(path, victim)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)
    return f"{path.name} is now a trap: {trap.__name__}"


def link_to_secret(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "secret.json")


def link_to_copy(path: Path, victim: Path) -> None:
    """The link's target has the right content, so that only the link gives it away."""
    path.symlink_to(_copy(path, victim))


def relative_link_to_copy(path: Path, victim: Path) -> None:
    path.symlink_to(os.path.relpath(_copy(path, victim), path.parent))


def dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "new")


def dangling_link_below(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "no" / "such" / "folder")


def loop(path: Path, victim: Path) -> None:
    path.symlink_to(path.name)


def link_to_run(path: Path, victim: Path) -> None:
    path.symlink_to(".")


def link_to_parent(path: Path, victim: Path) -> None:
    path.symlink_to("..")


def link_to_manifest(path: Path, victim: Path) -> None:
    path.symlink_to("manifest.json")


def zeros(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/zero")


def full(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/full")


def own_memory(path: Path, victim: Path) -> None:
    path.symlink_to("/proc/self/mem")


def process_text(path: Path, victim: Path) -> None:
    path.symlink_to("/proc/self/environ")


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def link_to_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(victim / "pipe")
    path.symlink_to(victim / "pipe")


def unix_socket(path: Path, victim: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name[:100])
    finally:
        os.chdir(here)


def hard_link(path: Path, victim: Path) -> None:
    source = _copy(path, victim)
    if source.is_dir():  # as `cp -al`
        path.mkdir()
        for file in source.iterdir():
            if file.is_file():
                (path / file.name).hardlink_to(file)
    else:
        path.hardlink_to(source)


def folder(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


def deep_folders(path: Path, victim: Path) -> None:
    path.mkdir()
    at = path
    for _ in range(60):
        at = at / "d"
        at.mkdir()
    (at / "end").symlink_to(victim)


def missing(path: Path, victim: Path) -> None:
    pass


def link_to_victim(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def link_to_copied_folder(path: Path, victim: Path) -> None:
    path.symlink_to(_copy(path, victim))


def many_files(path: Path, victim: Path) -> None:
    path.mkdir()
    for n in range(300):
        (path / f".tmp-{n}").write_text("x")
        (path / f"influence_{n}_meta.json").symlink_to(victim / "secret.json")


FILE_TRAPS: list[Trap] = [
    link_to_secret, link_to_copy, relative_link_to_copy, dangling_link, dangling_link_below, loop, link_to_run,
    link_to_parent, link_to_manifest, zeros, full, own_memory, process_text, pipe, link_to_pipe, unix_socket, hard_link,
    folder, deep_folders, missing, link_to_victim,
]  # fmt: skip
FOLDER_TRAPS: list[Trap] = [
    link_to_victim, link_to_copied_folder, link_to_secret, dangling_link, loop, link_to_run, link_to_parent, zeros,
    pipe, unix_socket, deep_folders, many_files, missing,
]  # fmt: skip


def _copy(path: Path, victim: Path) -> Path:
    """What was at `path`, copied into the victim's folder."""
    old, new = path.with_name(f".original-{path.name}"[:200]), victim / path.name
    if old.is_dir():
        shutil.copytree(old, new, symlinks=True)
    elif old.exists():
        shutil.copyfile(old, new)
    else:
        new.write_text('{"host": "h", "pid": 1, "job": null, "since": "2026"}\n')
    return new
