"""Replacing a run (`--overwrite`): the old run waits in `.replaced` until the new one is complete."""

from __future__ import annotations

import shutil
from pathlib import Path

from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.names import JOURNAL, MANIFEST, MOVING, REPLACED, STAGE_FOLDERS, is_activation_file


def set_aside(run_dir: Path) -> None:
    """Move a run into `.replaced`, the manifest first, so that the rest never looks complete.

    The folder has another name until everything is in it; a failure moves everything back. If an earlier, unfinished
    replacement already moved a run there, that run stays, and the files of the unfinished one are deleted.
    """
    aside, moving = run_dir / REPLACED, run_dir / MOVING
    with explain_os_errors(run_dir):
        if (aside / MANIFEST).exists() and not (run_dir / MANIFEST).exists():
            _delete(_parts_of_run(run_dir))
            return
        if aside.exists():
            shutil.rmtree(aside)
        moving.mkdir()
        try:
            for p in _parts_of_run(run_dir):
                p.rename(moving / p.name)
            moving.rename(aside)
        except OSError:
            finish_putting_back(run_dir)
            raise


def put_back(run_dir: Path) -> None:
    """Undo `set_aside` after a failure: delete the new files, move the old ones back, the manifest last."""
    with explain_os_errors(run_dir):
        _delete(_parts_of_run(run_dir))
        (run_dir / REPLACED).rename(run_dir / MOVING)
    finish_putting_back(run_dir)


def finish_putting_back(run_dir: Path) -> None:
    """Move a run back that was being moved to or from `.replaced` when its process was killed."""
    moving = run_dir / MOVING
    if not moving.exists():
        return
    with explain_os_errors(run_dir):
        for p in reversed(_parts_of_run(moving)):
            p.rename(run_dir / p.name)
        moving.rmdir()


def waiting_run(run_dir: Path) -> str:
    """The name of the folder in which a run waits that was to be replaced; empty if there is none."""
    return next((name for name in (REPLACED, MOVING) if (run_dir / name / MANIFEST).exists()), "")


def remove_temporary_parts(run_dir: Path) -> None:
    """Remove what a complete run no longer needs: its journal, and the run that it replaced."""
    (run_dir / JOURNAL).unlink(missing_ok=True)
    if (run_dir / REPLACED).exists():
        shutil.rmtree(run_dir / REPLACED)


def _parts_of_run(run_dir: Path) -> list[Path]:
    """Everything in the folder that belongs to a run, the manifest first."""
    folders = [p for p in run_dir.iterdir() if p.name in STAGE_FOLDERS and p.is_dir() and not p.is_symlink()]
    files = [p for p in run_dir.iterdir() if p.name == JOURNAL or is_activation_file(p.name)]
    return [p for p in [run_dir / MANIFEST] if p.exists()] + files + folders


def _delete(paths: list[Path]) -> None:
    for p in paths:
        if p.is_dir():
            shutil.rmtree(p)
        else:
            p.unlink()
