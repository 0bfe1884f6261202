"""Makes the run of imported neurons: whole or not at all, and once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from neuron_signatures.explain.sources.content import Content
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.lock import lock_file
from neuron_signatures.runs.names import LOCK, MANIFEST, TMP_PREFIX
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS_META
from neuron_signatures.runs.records.stage_meta import read_meta

_RUN: Final = "run"


def import_into(out_dir: Path, content: Content) -> tuple[str, ...]:
    """Lines about the import. A run of the same files is used again, with nothing imported.

    The run is made beside `out_dir` and renamed, so a stopped import leaves no run. Raises `UsageError` if the folder
    holds anything else than a run of these files.
    """
    if (out_dir / MANIFEST).exists():
        _check_same(out_dir, content)
        return (f"imported before from the same files: {out_dir}",)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UsageError("is not an empty folder", where=f"--out_dir {out_dir}", next_step="Choose a new folder")
    with _temporary(out_dir) as temporary:
        summary = content.run(content.options(temporary))
        with explain_os_errors(out_dir):
            if out_dir.exists():
                out_dir.rmdir()
            temporary.rename(out_dir)
    return tuple(line.replace(str(temporary), str(out_dir)) for line in summary.lines())


def described_source(run_dir: Path) -> dict[str, Any]:
    """What a run's records were made from: `kind` and what else was recorded. Empty if it has no corpus."""
    try:
        return dict(read_meta(run_dir, CORPUS_META, CorpusMeta).source)
    except UsageError:
        return {}


def _check_same(out_dir: Path, content: Content) -> None:
    found = described_source(out_dir)
    if found.get("kind") != content.kind or found.get("files_sha256") != content.files_sha256:
        what = "holds a run that was not imported from these files"
        next_step = f"Choose a new folder, or explain that run with --run_dir {out_dir}"
        raise UsageError(what, where=f"--out_dir {out_dir}", next_step=next_step)


@contextmanager
def _temporary(out_dir: Path) -> Iterator[Path]:
    """A folder beside `out_dir` for the run. What a killed import left is removed; one at a time."""
    folder = out_dir.absolute().parent / f"{TMP_PREFIX}-import-{out_dir.name}"
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder, LOCK, "another process imports this run"):
        shutil.rmtree(folder / _RUN, ignore_errors=True)
        try:
            yield folder / _RUN
        finally:
            shutil.rmtree(folder / _RUN, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
