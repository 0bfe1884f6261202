"""Import: a new set of explanations in an existing run, from the files of another tool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.explain.exchange.delphi import read_delphi
from neuron_signatures.explain.exchange.items import Format, Item
from neuron_signatures.explain.exchange.neuronpedia import read_neuronpedia
from neuron_signatures.explain.exchange.openai import read_openai
from neuron_signatures.runs.errors import UsageError, shorten
from neuron_signatures.runs.explanations.done import Done, Key, done_keys
from neuron_signatures.runs.explanations.entry import MAX_NAME, MAX_TEXT, Entry
from neuron_signatures.runs.explanations.log import ExplanationLog, check_set_name
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS, source_name
from neuron_signatures.runs.explanations.sources import source_line
from neuron_signatures.runs.explanations.stage import begin_set, finish_set
from neuron_signatures.runs.files import counted, whole_file
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.versions import now_utc

_NO_NEURON = "the run has no such neuron"
_EMPTY = "empty"
_MOST_NAMES = 1000
_TOO_LONG = f"longer than {MAX_TEXT} characters"


@dataclass(frozen=True)
class ImportOptions:
    run_dir: Path
    source: Path
    format: Format
    set_name: str
    pole: Pole = "+"
    """No format knows poles: all explanations are of this one."""
    layer_source: str | None = None
    """Neuronpedia: of layers `<n>-<layer_source>`; None if the files have only one source."""


@dataclass(frozen=True)
class ImportSummary:
    set_name: str
    n_explanations: int
    n_neurons: int
    n_with_more: int
    """Explanations of which the files say more, such as scores: it is kept for an export in the same format."""
    skipped: dict[str, int]
    """Explanations that were left out, by reason."""

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        of = f"of {counted(self.n_neurons, 'neuron')} in set {self.set_name}"
        lines = [f"{counted(self.n_explanations, 'explanation')} {of}"]
        if self.n_with_more:
            lines.append(
                "what the files say beside the texts, such as scores, is kept for an export in the same format"
            )
        return lines + [f"{n:,} left out: {why}" for why, n in self.skipped.items()]


def import_explanations(options: ImportOptions) -> ImportSummary:
    """Append the explanations as a new set, with the author `model`, and finish it.

    All files are checked before anything is written. An import that was killed can be repeated.
    Raises `UsageError` for files that are not of the format, and for a set that exists.
    """
    check_set_name(options.set_name)
    for _ in _read(options):
        pass
    with Run.open(options.run_dir) as run, run_lock(run.path):
        if SETS.is_finished(run.path, options.set_name):
            what = f"there is a set {options.set_name} already"
            raise UsageError(what, where=str(run.path / EXPLANATIONS), next_step="Give another name with --set")
        settings = {"format": options.format, "source": options.source.name, "pole": options.pole,
                    "layer_source": options.layer_source}  # fmt: skip
        with begin_set(run, options.set_name, settings) as log:
            writing = _Import(options, log, done_keys(run.path, options.set_name))
            with whole_file(run.path, source_name(options.set_name), below=EXPLANATIONS) as sources:
                writing.append_all(_read(options), run.stores, sources.write)
        finish_set(
            run, options.set_name, skipped=writing.names, mode="import", files=[source_name(options.set_name)],
            left_out=dict(writing.skipped),
        )  # fmt: skip
    return writing.summary()


class _Import:
    """Appends items that the log does not have yet."""

    def __init__(self, options: ImportOptions, log: ExplanationLog, done: Done) -> None:
        self._options, self._log, self._done = options, log, done
        self._samples: Counter[tuple[int, int]] = Counter()
        self._n_with_more = 0
        self.skipped: Counter[str] = Counter()
        self.names: dict[str, list[str]] = {}
        """Of the first poles that were skipped, by reason."""

    def append_all(
        self, items: Iterator[Item], stores: Callable[[int, int], bool], keep: Callable[[bytes], int]
    ) -> None:
        for item in items:
            text = item.text.strip()
            if why := _NO_NEURON if not stores(item.layer, item.neuron) else _unfit(text):
                self._skip(item, why)
                continue
            key = Key(item.layer, item.neuron, self._options.pole, None, self._samples[item.layer, item.neuron], 0)
            self._samples[item.layer, item.neuron] += 1
            id_ = self._done.id(key) if key in self._done else self._append(item, key)
            if item.source:
                keep(source_line(id_, item.source))
                self._n_with_more += 1

    def _skip(self, item: Item, why: str) -> None:
        self.skipped[why] += 1
        if len(names := self.names.setdefault(why, [])) < _MOST_NAMES:
            names.append(f"L{item.layer}N{item.neuron}{self._options.pole}")

    def _append(self, item: Item, key: Key) -> str:
        entry = Entry(
            id=self._log.new_id(), set=self._options.set_name, layer=key.layer, neuron=key.neuron, pole=key.pole,
            text=item.text.strip(), explainer=_name(item.explainer or self._options.format), status="ok",
            author="model", created_at_utc=now_utc(), sample=key.sample,
            model=None if item.model is None else _name(item.model),
        )  # fmt: skip
        self._log.append(entry)
        return entry.id

    def summary(self) -> ImportSummary:
        n = sum(self._samples.values())
        return ImportSummary(
            self._options.set_name, n, len(self._samples), self._n_with_more, dict(sorted(self.skipped.items()))
        )


def _read(options: ImportOptions) -> Iterator[Item]:
    if options.layer_source is not None and options.format != "neuronpedia":
        raise UsageError("--layer_source is for --format neuronpedia")
    if not options.source.exists():
        raise UsageError("there is no such file or folder", where=str(options.source))
    if options.format == "openai":
        return read_openai(options.source)
    if options.format == "delphi":
        return read_delphi(options.source)
    return read_neuronpedia(options.source, layer_source=options.layer_source)


def _unfit(text: str) -> str:
    """Why a text is not stored; empty if it is."""
    return _EMPTY if not text else _TOO_LONG if len(text) > MAX_TEXT else ""


def _name(text: str) -> str:
    return shorten(text, MAX_NAME)
