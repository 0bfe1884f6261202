"""Opens what the flags name: `--run_dir`, or `--dataset_path` or `--puzzles` with `--out_dir` for the new run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from neuron_signatures.explain.sources.source import Source
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import Part

_SHARED: Final[tuple[Part, ...]] = ("explain",)


def open_source(
    *, run_dir: Path | None = None, dataset_path: Path | None = None, puzzles: Path | None = None,
    out_dir: Path | None = None, model_name: str | None = None,
) -> Source:  # fmt: skip
    """The run that is explained, imported first if it has to be. Exactly one of the first three is given.

    A run that was imported from the same files before is used again. Raises `UsageError` for flags that do not go
    together, for damaged files, and if `out_dir` holds anything else.
    """
    given = {"--run_dir": run_dir, "--dataset_path": dataset_path, "--puzzles": puzzles}
    named = [flag for flag, value in given.items() if value is not None]
    if len(named) != 1:
        what = "nothing to explain" if not named else f"{' and '.join(named)} exclude each other"
        raise UsageError(what, next_step="Give --run_dir RUN, --dataset_path FOLDER or --puzzles FILE")
    if run_dir is not None:
        if out_dir is not None:
            raise UsageError("--out_dir is for --dataset_path and --puzzles", next_step="Leave it away")
        return _open_run(run_dir)
    if out_dir is None:
        raise UsageError(f"{named[0]} needs a folder for the run", next_step="Give --out_dir RUN")
    if dataset_path is not None:
        return _open_folder(dataset_path, out_dir, model_name)
    assert puzzles is not None
    return _open_puzzles(puzzles, out_dir)


def _open_run(run_dir: Path) -> Source:
    """A run, perhaps one that was imported by an earlier command."""
    from neuron_signatures.explain.sources.new_run import described_source

    if described_source(run_dir).get("kind") == "puzzles":
        return Source("run", run_dir, select=_SHARED, report=_SHARED)
    return Source("run", run_dir)


def _open_folder(folder: Path, out_dir: Path, model_name: str | None) -> Source:
    from neuron_signatures.explain.sources.content import folder_content
    from neuron_signatures.explain.sources.new_run import import_into

    if not folder.is_dir():
        raise UsageError("there is no such folder", where=f"--dataset_path {folder}")
    return Source("neuron_record", out_dir, lines=import_into(out_dir, folder_content(folder, model_name)))


def _open_puzzles(file: Path, out_dir: Path) -> Source:
    from neuron_signatures.explain.puzzles import read_puzzles
    from neuron_signatures.explain.sources.content import puzzle_content
    from neuron_signatures.explain.sources.new_run import import_into

    puzzles = read_puzzles(file)
    import_into(out_dir, puzzle_content(file, puzzles))
    lines = (
        f"{len(puzzles)} puzzles, neurons L0N0 to L0N{len(puzzles) - 1}: {out_dir}",
        "the writer sees all sentences of a puzzle: what is chosen and scored on them is not held out",
    )
    return Source("puzzles", out_dir, select=_SHARED, report=_SHARED, lines=lines, puzzles=tuple(puzzles))
