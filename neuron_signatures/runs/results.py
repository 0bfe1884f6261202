"""Results of the analysis stages in a run: file names, one writer and the readers.

Parquet is the reference; CSV is an export for spreadsheets with escaped text. Undefined numbers are null, empty in
CSV. A stage record (`*_meta.json`) is removed before the first file of its result is replaced, and written last, with
the size and checksum of each file of the result. A result without a record is incomplete, and readers refuse it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import (
    explain_os_errors,
    json_text,
    remove_files,
    sha256_file,
    sha256_of,
    sweep_leftovers,
    whole_file,
    write_text,
)
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import FileRecord
from neuron_signatures.runs.names import META, inside, safe_id
from neuron_signatures.runs.opening import folder_below, replace_file
from neuron_signatures.runs.plain import csv_safe, strict
from neuron_signatures.runs.records import names as records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.seal import SEAL, seal
from neuron_signatures.runs.sharding.locks import running_shards

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

ANALYSIS = "analysis"
INTERVENTIONS = "interventions"
INTERVENTION_MODES = ("effect", "swap", "steer")
NEURONS = "neurons_aggregated"
TOP_NEURONS = "top_neurons.json"
TOP_STEM = "top_neurons"
ANALYSIS_META = "analysis_meta.json"
SIGNATURES = "signatures"
GROUPS = "groups.json"
SIGNATURES_META = "signatures_meta.json"
# Of every neuron, without a prompt; those of the neurons that a ranking selects are in `write_scores_name`.
WRITES = "write_scores"
WRITES_TOKENS = "write_scores_tokens"
WRITES_META = "write_scores_meta.json"
WRITE_SIDES = ("promotes", "suppresses")
WRITE_MOMENTS = ("mean", "std", "skewness", "kurtosis")

# The stage record of each file with a fixed name.
_RECORD_OF = {
    **dict.fromkeys(
        (f"{NEURONS}.parquet", f"{NEURONS}.csv", TOP_NEURONS, f"{TOP_STEM}_write_scores.json"), ANALYSIS_META
    ),
    **dict.fromkeys((f"{SIGNATURES}.parquet", f"{SIGNATURES}.csv", GROUPS), SIGNATURES_META),
    **dict.fromkeys((f"{WRITES}.parquet", f"{WRITES_TOKENS}.parquet"), WRITES_META),
}
_RECORD_OF_RECORDS = {
    **dict.fromkeys(
        (records.CORPUS, f"{records.DOCUMENTS}.parquet", f"{records.VOCABULARY}.parquet"), records.CORPUS_META
    ),
    **dict.fromkeys(
        (records.STRONGEST, records.MOMENTS, records.HISTOGRAMS, f"{records.NEURONS}.parquet"), records.RECORDS_META
    ),
    **dict.fromkeys((records.SAMPLE, records.ROWS), records.SAMPLE_META),
}

_STEM_OF = {ANALYSIS_META: NEURONS, SIGNATURES_META: SIGNATURES}

_STAGES = {INTERVENTIONS: "poc3_intervene", records.RECORDS: "poc4_extract_records"}

# Rows whose repeated text is written out at a time; also the rows of a group in Parquet.
_ROWS_AT_ONCE = 1 << 20
# File systems allow names of 255 bytes; this leaves space for the longest ending and for temporary names.
_STEM_BYTES = 200
_SIDE_BYTES = 60  # of a contrast


def target_stem(
    kind: str, prompt_id: str, metric: str, target_mode: str, pos: int, token_id: int, *, foil_id: int | None = None,
    suffix: str = "",
) -> str:  # fmt: skip
    """Stem of the files of one result for a target: kind, prompt, metric, mode, resolved position, token ids."""
    foil = "" if foil_id is None else f"_foil{foil_id}"
    end = f"_{suffix}" if suffix else ""
    stem = f"{kind}_{safe_id(prompt_id)}_{metric}_{target_mode}_pos{pos}_tok{token_id}{foil}{end}"
    return shortened(stem)


def shortened(stem: str) -> str:
    """`stem`, or if it is too long for a file name its beginning and a digest of the whole."""
    if len(stem) <= _STEM_BYTES:  # ASCII only
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:12]
    return f"{stem[: _STEM_BYTES - 1 - len(digest)]}_{digest}"


influence_stem = functools.partial(target_stem, "influence")
validation_stem = functools.partial(target_stem, "validation")
# Of the partial file of a command, which has a list of metrics as `metric`.
unfinished_stem = functools.partial(target_stem, "unfinished")


def contrast_stem(a: str, b: str, *, exact: str, suffix: str = "") -> str:
    """Stem of the files of a contrast: both sides in readable form, and a digest of `exact`, their exact text."""
    sides = (re.sub(r"[^A-Za-z0-9._-]+", "-", side)[:_SIDE_BYTES].strip("-") for side in (a, b))
    digest = hashlib.sha256(exact.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return shortened("_".join(["contrast", "_vs_".join(sides), *filter(None, [suffix]), digest]))


def meta_name(stem: str) -> str:
    """Name of the stage record of a result."""
    return f"{stem}{META}"


def table_name(stem: str) -> str:
    """Name of the table with all rows of a result."""
    return f"{stem}.parquet"


def write_scores_name(stem: str) -> str:
    """Name of the file with the tokens that the selected neurons promote and suppress."""
    return f"{stem}_write_scores.json"


def write_column(side: str, what: str, rank: int) -> str:
    """Name of a column of `write_scores.parquet`: a side, `id` or `score`, and the rank from 0."""
    return f"{side}_{what}_{rank}"


def effects_stem(stem: str) -> str:
    """Stem of the table with the single effects that a validation sampled."""
    return f"{stem}_effects"


def partial_name(stem: str) -> str:
    """Name of the file with the finished part of a long computation, which the same command resumes."""
    return f"{stem}_partial.npz"


class ResultsWriter:
    """Writes into one stage folder of a run; created by `open_results`, which holds the run's lock."""

    def __init__(self, run_dir: Path, stage_folder: str = ANALYSIS) -> None:
        self.run_dir = run_dir
        self.folder = run_dir / stage_folder
        self._below = stage_folder
        self._files: dict[str, FileRecord] = {}

    def begin(self, record_name: str, *, companions: Sequence[str] = ()) -> None:
        """Remove an earlier result's record and companions, before the first of its files is replaced.

        Otherwise a process killed between two files would leave a complete-looking mixture of old and new files.
        The files that are written from here to `record` are the files of the result. Files of another tool with the
        same names are renamed first (`keep_files_of_others`).
        """
        if self._below == ANALYSIS:
            keep_files_of_others(self.run_dir, record_name)
        remove_files(self.run_dir, (record_name, *companions), below=self._below)
        self._files = {}

    def table(
        self, stem: str, frame: pd.DataFrame, *, parquet: bool = True, csv: bool = True, plain: Sequence[str] = ()
    ) -> None:
        """Write `stem.parquet` and `stem.csv`. NaN becomes null; text is raw in Parquet and escaped in CSV.

        Categorical text is written as text.

        `plain` names text columns that are not from data (such as the pole) and are not escaped.
        """
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        table = pa.Table.from_pandas(frame, preserve_index=False)
        plain_types = [c.with_type(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.schema]
        schema = pa.schema(plain_types, metadata=table.schema.metadata)
        if parquet:
            with (
                self.file(table_name(stem), needed=table.nbytes) as f,
                pyarrow.parquet.ParquetWriter(f, schema) as out,
            ):
                for start in range(0, max(table.num_rows, 1), _ROWS_AT_ONCE):
                    out.write_table(table.slice(start, _ROWS_AT_ONCE).cast(schema))
        if csv:
            with self.file(f"{stem}.csv", needed=table.nbytes) as f:
                pyarrow.csv.write_csv(csv_safe(table.cast(schema), plain), f)

    def json(self, name: str, record: Any) -> None:
        """Write strict JSON of values that `strict` accepts."""
        raw = json_text(strict(record)).encode()
        with self.file(name, needed=len(raw)) as f:
            f.write(raw)

    def record(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a stage record, the last file of a result, which marks it as complete.

        It holds the name, size and checksum of each file of the result, and its own checksum.
        """
        own = {k: v for k, v in strict(record).items() if k != SEAL}
        full = {**own, "files": [f.model_dump() for f in self._files.values()]}
        write_text(self.run_dir, name, seal(json_text(full)), below=self._below)
        self._files = {}

    @contextlib.contextmanager
    def file(self, name: str, *, needed: int = 0) -> Iterator[BinaryIO]:
        """A temporary file, renamed to `name` at the end of the block. A partial file belongs to no result."""
        written = None
        with whole_file(self.run_dir, name, below=self._below, needed=needed) as f:
            yield f
            if not name.endswith(partial_name("")):
                sha256 = sha256_of(f)
                written = FileRecord(name=name, bytes=f.tell(), sha256=sha256)
        if written is not None:
            self._files[name] = written

    def include(self, name: str) -> None:
        """Make a file that was written before a part of the result."""
        path = inside(self.run_dir, f"{self._below}/{name}")
        self._files[name] = FileRecord(name=name, bytes=path.stat().st_size, sha256=sha256_file(path))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        remove_files(self.run_dir, [name], below=self._below)
        self._files.pop(name, None)


def keep_files_of_others(run_dir: Path, record_name: str) -> None:
    """Rename files that another tool wrote under the names of the result of `record_name` to `*.earlier*`.

    The earlier tool of this method has the same names, but its records have neither stage nor checksum, and it writes
    no Parquet: without a record, a Parquet table is a result of ours that was not finished.
    """
    stem = _STEM_OF.get(record_name, record_name.removesuffix(META))
    if stem not in _STEM_OF.values() and not stem.startswith("influence_"):
        return  # a validation has no table of this name
    tails = (".csv", ".json", META)
    names = [record_name, *(f"{s}{t}" for s in ((NEURONS, TOP_STEM) if stem == NEURONS else (stem,)) for t in tails)]
    with explain_os_errors(run_dir / ANALYSIS), folder_below(run_dir, ANALYSIS) as at:
        there = {n for n in dict.fromkeys(names) if os.path.lexists(run_dir / ANALYSIS / n)}
        ours = _is_ours(run_dir, record_name)
        if not there or ours or (ours is None and (run_dir / ANALYSIS / table_name(stem)).exists()):
            return
        number = next(n for n in ("", *range(2, 1000)) if not any(
            os.path.lexists(run_dir / ANALYSIS / _kept_name(name, n)) for name in there))  # fmt: skip
        for name in sorted(there):
            replace_file(at, name, _kept_name(name, number))
            log.warning("%s was written by another tool; it is kept as %s", name, _kept_name(name, number))


def _kept_name(name: str, number: int | str) -> str:
    tail = META if name.endswith(META) else f".{name.rpartition('.')[2]}"
    return f"{name.removesuffix(tail)}.earlier{number}{tail}"


def _is_ours(run_dir: Path, record_name: str) -> bool | None:
    """Whether the record is one of ours; None if there is none that can be read."""
    try:
        record = read_json_file(inside(run_dir, f"{ANALYSIS}/{record_name}"), max_bytes=RECORD_BYTES)
    except (FileNotFoundError, BadRunError):
        return None
    return isinstance(record, dict) and not record.keys().isdisjoint(("stage", SEAL))


@contextlib.contextmanager
def open_results(run: Run, stage_folder: str = ANALYSIS, *, wait: bool = False) -> Iterator[ResultsWriter]:
    """Lock the run and yield a writer of results. Temporary files of killed writers are removed first, unless a shard
    is being computed, which may have some.

    Raises `BadRunError` if the stage folder is a link and, without `wait`, `RunLockedError` if another process holds
    the lock.
    """
    with run_lock(run.path, wait=wait):
        with explain_os_errors(run.path / stage_folder), folder_below(run.path, stage_folder, create=True):
            if not running_shards(run.path):
                sweep_leftovers(run.path / stage_folder)
        yield ResultsWriter(run.path, stage_folder)


def read_json(run_dir: Path, name: str) -> Any:
    """A JSON file of a result. Lone surrogates become escapes.

    Raises `UsageError` if it has not been made, `BadRunError` if it is damaged.
    """
    path = result_path(run_dir, name)
    try:
        return strict(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError as e:  # removed meanwhile
        raise damaged(path, "JSON", e) from e
    except BadRunError as e:
        raise BadRunError(e.what, where=str(path), next_step="Make it again") from e


def list_influence(run_dir: Path) -> list[str]:
    """Stems of the influence rankings that are finished, in order of name."""
    return _finished(run_dir, "influence_")


def list_validations(run_dir: Path) -> list[str]:
    """Stems of the validations that are finished, in order of name."""
    return _finished(run_dir, "validation_")


def list_contrasts(run_dir: Path) -> list[str]:
    """Stems of the contrasts that are finished, in order of name."""
    return _finished(run_dir, "contrast_")


def list_interventions(run_dir: Path) -> list[str]:
    """Stems of the interventions that are finished, the newest last."""
    folder, tail = run_dir / INTERVENTIONS, meta_name("")
    found = [p for mode in INTERVENTION_MODES for p in folder.glob(f"{mode}_*{tail}")]
    return [p.name.removesuffix(tail) for p in sorted(found, key=lambda p: (_mtime_ns(p), p.name))]


def unfinished_interventions(run_dir: Path) -> list[str]:
    """Stems of the interventions that have files but no record, in order of name."""
    folder, done = run_dir / INTERVENTIONS, set(list_interventions(run_dir))
    found = (p for mode in INTERVENTION_MODES for tail in (".json", ".parquet") for p in folder.glob(f"{mode}_*{tail}"))
    return sorted({p.stem for p in found if not p.name.endswith(meta_name(""))} - done)


def result_path(run_dir: Path, name: str) -> Path:
    """The path of a finished result. Raises `UsageError` if it has not been made or is not finished."""
    folder = stage_folder(name)
    path = inside(run_dir, f"{folder}/{name}")
    record = _record_of(name)
    complete = record is None or inside(run_dir, f"{folder}/{record}").is_file()
    if not path.is_file() or not complete:
        what = f"this is not finished: there is no {record}" if path.is_file() else "this has not been made yet"
        stage = _STAGES.get(folder, "poc2_analyze_run")
        next_step = f"Make it with `python -m neuron_signatures.{stage} --run_dir {run_dir}`"
        raise UsageError(what, where=str(path), next_step=next_step)
    return path


def stage_folder(name: str) -> str:
    """The stage folder of the result file `name`, by its name or the first word of it."""
    if name in _RECORD_OF_RECORDS or name in _RECORD_OF_RECORDS.values():
        return records.RECORDS
    return INTERVENTIONS if name.partition("_")[0] in INTERVENTION_MODES else ANALYSIS


def _record_of(name: str) -> str | None:
    """The stage record of the file `name`; None for records and for files of no result."""
    if name in _RECORD_OF or name in _RECORD_OF_RECORDS:
        return _RECORD_OF.get(name) or _RECORD_OF_RECORDS[name]
    kinds = ("influence", "validation", "contrast", *INTERVENTION_MODES)
    if name.partition("_")[0] not in kinds or name.endswith(meta_name("")):
        return None
    tail = next(
        (
            t
            for t in (write_scores_name(""), table_name(effects_stem("")), ".json", ".csv", ".parquet", ".png")
            if name.endswith(t)
        ),
        None,
    )
    return None if tail is None else meta_name(name.removesuffix(tail))


def _finished(run_dir: Path, prefix: str) -> list[str]:
    tail = meta_name("")
    names = (p.name for p in (run_dir / ANALYSIS).glob(f"{prefix}*{tail}"))
    return sorted(n.removesuffix(tail) for n in names)


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed meanwhile, or a broken link
        return 0


def damaged(path: Path, what: str, e: Exception) -> BadRunError:
    """The error for a result that a library cannot read."""
    reason = " ".join(str(e).split())[:160]
    return BadRunError(f"cannot be read as {what} ({reason})", where=str(path), next_step="Make it again")
