"""Export: the explanations of one set in the format of another tool, or as CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.explain.exchange.delphi import HOOKPOINT, check_hookpoint, write_delphi
from neuron_signatures.explain.exchange.items import Exported, Format
from neuron_signatures.explain.exchange.neuronpedia import write_neuronpedia
from neuron_signatures.explain.exchange.openai import write_openai
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.meta import read_settings
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.explanations.sources import Sources
from neuron_signatures.runs.files import counted, explain_os_errors, human_bytes, whole_file
from neuron_signatures.runs.plain import csv_text
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.run import Run

_COLUMNS = (
    "id", "set", "layer", "neuron", "pole", "text", "explainer", "status", "author", "author_name", "model",
    "answered_by", "created_at_utc", "current", "locked_by", "up", "down",
)  # fmt: skip


@dataclass(frozen=True)
class ExportOptions:
    run_dir: Path
    set_name: str
    out_dir: Path
    format: Format | Literal["csv"]
    pole: Pole = "+"
    """The other formats know no poles, so they hold those of one. CSV has both."""
    all_samples: bool = False
    """Also explanations that answered and are not the current ones. CSV has failures too."""
    overwrite: bool = False
    with_class_names: bool = False
    """OpenAI: name the class of each object."""
    hookpoint: str = HOOKPOINT
    """delphi: of explanations that were not imported from its files."""
    model_id: str | None = None
    """Neuronpedia: None is the model's name without its owner."""
    layer_source: str = "mlp"
    """Neuronpedia: layers are `<n>-<layer_source>`."""


@dataclass(frozen=True)
class ExportSummary:
    out_dir: Path
    n_explanations: int
    n_neurons: int
    n_other_pole: int
    """Explanations of the other pole, for which the format has no place."""
    n_bytes: int

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "out_dir": str(self.out_dir)}

    def lines(self) -> list[str]:
        n = f"{counted(self.n_explanations, 'explanation')} of {counted(self.n_neurons, 'neuron')}"
        lines = [f"{n}, {human_bytes(self.n_bytes)}: {self.out_dir}"]
        if self.n_other_pole:
            lines.append(f"{self.n_other_pole:,} of the other pole left out: the format has no poles (--pole)")
        return lines


def export_explanations(options: ExportOptions) -> ExportSummary:
    """Write the current explanations of a set. Raises `UsageError` if there are none, or the folder is not empty."""
    check_hookpoint(options.hookpoint)
    explanations = Explanations.open(options.run_dir, sets=[options.set_name])
    shown = [s for s in explanations.all() if _wanted(s, options)]
    mine = [s for s in shown if options.format == "csv" or s.at.pole == options.pole]
    if not mine:
        of = "" if options.format == "csv" else f" of the pole {options.pole}"
        raise UsageError(f"set {options.set_name} has no explanation{of}", where=str(options.run_dir))
    _check_target(options)
    if options.format == "csv":
        n_bytes = _write_csv(options, mine)
    else:
        with Sources(options.run_dir, options.set_name) as sources:
            n_bytes = _write(options, [_exported(s, sources, options) for s in mine])
    return ExportSummary(options.out_dir, len(mine), len({s.at[:2] for s in mine}), len(shown) - len(mine), n_bytes)


def _wanted(s: Shown, options: ExportOptions) -> bool:
    if options.format == "csv" and options.all_samples:
        return True
    return s.entry.status == "ok" and (s.current or options.all_samples)


def _exported(s: Shown, sources: Sources, options: ExportOptions) -> Exported:
    """What the imported file said belongs to its text: nothing is left of it after an edit, or in another format."""
    e = s.entry
    return Exported(
        e.layer, e.neuron, e.text, e.explainer, e.answered_by or e.model, e.created_at_utc, sources.of(e.id)
    )


def _write(options: ExportOptions, items: list[Exported]) -> int:
    settings = read_settings(options.run_dir, options.set_name)
    if settings is None or settings.settings.get("format") != options.format:
        items = [replace(item, source={}) for item in items]
    if options.format == "openai":
        return write_openai(options.out_dir, items, with_class_names=options.with_class_names)
    if options.format == "delphi":
        return write_delphi(options.out_dir, items, hookpoint=options.hookpoint)
    with Run.open(options.run_dir) as run:
        model_id = options.model_id or run.manifest.model_name.rstrip("/").rpartition("/")[2]
    return write_neuronpedia(options.out_dir, items, model_id=model_id, source=options.layer_source)


def _write_csv(options: ExportOptions, shown: list[Shown]) -> int:
    with explain_os_errors(options.out_dir):
        options.out_dir.mkdir(parents=True, exist_ok=True)
    name = f"{options.set_name}.csv"
    with whole_file(options.out_dir, name) as f:
        for row in _csv_rows(shown):
            f.write(row)
    return (options.out_dir / name).stat().st_size


def _csv_rows(shown: list[Shown]) -> Iterator[bytes]:
    """Text is escaped, so that no spreadsheet takes it for a formula."""
    for values in itertools.chain([list(_COLUMNS)], map(_csv_values, shown)):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        yield line.getvalue().encode()


def _csv_values(s: Shown) -> list[Any]:
    of_state = {"current": s.current, "locked_by": s.locked_by, "up": s.up, "down": s.down}
    values = [of_state[c] if c in of_state else getattr(s.entry, c) for c in _COLUMNS]
    plain = ("id", "pole")
    return [csv_text(v) if isinstance(v, str) and c not in plain else v for c, v in zip(_COLUMNS, values, strict=True)]


def _check_target(options: ExportOptions) -> None:
    """Refuse a folder that holds anything, unless it is to be overwritten."""
    out_dir = options.out_dir
    if out_dir.exists() and not out_dir.is_dir():
        raise UsageError("is a file, not a folder", where=str(out_dir), next_step="Choose another --out_dir")
    if not options.overwrite and out_dir.is_dir() and any(itertools.islice(out_dir.iterdir(), 1)):
        raise UsageError("is not empty", where=str(out_dir), next_step="Choose another --out_dir, or --overwrite")
