"""How a stage begins, continues and finishes scores. The caller holds the run's lock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.logs.names import settings_name
from neuron_signatures.runs.logs.record import log_digest, refuse_taken, remove_log, write_log_settings
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import NotReadableError
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import ResultsWriter, meta_name, table_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.explained import explained_in
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.log import ScoreLog
from neuron_signatures.runs.scores.meta import About, ScoreSettings, ScoresMeta, read_meta, read_settings
from neuron_signatures.runs.scores.names import LOGS, NAME_RULE, SCORES
from neuron_signatures.runs.scores.table import RowMaker, scores_table
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.runs.writer import refuse_differences

STAGE = "poc6_score_explanations"
_OTHER = "Give the same flags, or --label NAME for scores beside these"


def begin_scores(run: Run, about: About) -> ScoreLog:
    """The log of scores, which is new or was begun with the same settings. Raises `UsageError` with the differences.

    The settings are stored before the log exists. Finished scores stay finished until a line is appended.
    """
    if not LOGS.is_name(about.name):
        raise UsageError(f"{about.name[:80]!r} cannot be the name of scores", next_step=f"Names are {NAME_RULE}")
    if not refuse_other_settings(run.path, about):
        next_step = "Move them away, or give --label NAME"
        refuse_taken(LOGS, run.path, about.name, there="there are scores", next_step=next_step)
        fields = {**about.model_dump(), "settings": strict(about.settings), "created_at_utc": now_utc()}
        write_log_settings(LOGS, run.path, about.name, ScoreSettings.model_validate(fields))
    return ScoreLog(run.path, about.name)


def refuse_other_settings(run_dir: Path, about: About) -> bool:
    """Whether the scores were begun. Raises `UsageError` with the differences if it was with other settings."""
    before = read_settings(run_dir, about.name)
    if before is None:
        return False
    where = run_dir / SCORES / settings_name(about.name)
    what = f"the scores {about.name} were begun with other settings"
    refuse_differences(_compared(before), _compared(about), where, what=what, next_step=_OTHER)
    return True


def is_intact(run_dir: Path, name: str) -> bool:
    """Whether the scores are finished, and their record and table are as they were written."""
    try:
        files = read_meta(run_dir, name).files
        return all(sha256_file(inside(run_dir, f"{SCORES}/{f.name}")) == f.sha256 for f in files)
    except (UsageError, BadRunError, NotReadableError, OSError):
        return False


def finish_scores(run: Run, name: str, *, mode: str = "score", **more: Any) -> ScoresMeta:
    """Write the table and then the stage record. `more` is stored in the record too (such as the costs).

    The log must be closed. Returns the record.
    """
    settings = read_settings(run.path, name)
    assert settings is not None, f"the scores {name} were not begun"
    about = About(**{field: getattr(settings, field) for field in About.model_fields})
    index = ScoreIndex(run.path, name)
    index.read_more()
    writer = ResultsWriter(run.path, SCORES)
    writer.begin(meta_name(name), companions=[table_name(name)])
    writer.table(name, scores_table(RowMaker(index, about, explained_in(run.path, about.set)), index), csv=False)
    writer.json(settings_name(name), settings.model_dump())
    own = [index.kept(key) for key in index.keys if key.control == "own"]
    results = {
        **about.model_dump(exclude={"settings"}),
        "n_poles": len(index.poles),
        "n_lines": len(index),
        "controls": dict(Counter(key.control for key in index.keys)),
        "counts": dict(sorted(Counter(line.status for line in own).items())),
        "score_names": list(dict.fromkeys(score for line in own for score in line.scores)),
        "log_bytes": index.end,
        "log_sha256": log_digest(LOGS, run.path, name, index.end),
        **more,
    }
    record = stage_record(run_identity(run), mode, about.settings, stage=STAGE, **results)
    writer.record(meta_name(name), record)
    return read_meta(run.path, name)


def remove_scores(run_dir: Path, name: str) -> None:
    """Remove all files of some scores, the stage record first."""
    remove_log(LOGS, run_dir, name)


def _compared(about: About) -> dict[str, Any]:
    fields = {"set": about.set, "scorer": about.scorer, "model": about.scorer_model, "split": about.split}
    return {**fields, **strict(about.settings)}
