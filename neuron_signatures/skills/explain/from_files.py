"""Explanations in files: Neuronpedia's JSONL (`.gz` or not) and CSV, with the columns of many tools.

The meaning of a column is found by its name; case, spaces and hyphens do not count. A file has

- `label` (`res L3F12`, `L3N508+`), or
- a layer (a number, or Neuronpedia's `6-gemmascope-res-16k`), an index, and a site if the layer does not name it,

an explanation, and perhaps who wrote it and a score. The names are in `COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from neuron_signatures.explain.exchange.reading import json_lines
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input
from neuron_signatures.runs.skills.banks import NEURONS, SAE
from neuron_signatures.runs.skills.units import Banks, Unit, parse_unit
from neuron_signatures.skills.explain.explained import Explained
from neuron_signatures.skills.explain.places import layer_and_source, place_in, site_of

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "label": ("label", "unit_label"),
    "layer": ("layer", "layer_id", "layer_index", "layer_number", "neuron_layer"),
    "site": ("site", "sae_type", "sae", "type", "hook", "hook_name", "component", "activation_type", "source", "sae_id",
             "layer_type"),
    "index": ("index", "feature", "feature_id", "feature_index", "neuron_id", "neuron", "neuron_index", "latent",
              "unit", "id"),
    "pole": ("pole", "sign"),
    "explanation": ("explanation", "description", "interpretation", "auto_interp", "autointerp",
                    "auto_interpretation", "explanations", "text", "meaning"),
    "by": ("explanationmodelname", "explanation_model_name", "explanation_model", "explainer", "model_name", "by",
           "author"),
    "score": ("score", "scorev2", "scorev1", "explanation_score"),
}  # fmt: skip
"""Names of a column by its meaning, the first that a file has counts."""
MAX_CSV: Final = 1 << 30


@dataclass
class Left:
    """Rows that gave no explanation, by reason."""

    other_unit: int = 0
    """Of units that were not asked for, or not collected."""
    empty: int = 0


def read_files(
    paths: Collection[Path], wanted: Collection[Unit], banks: Banks, *, pattern: str | None, left: Left
) -> Iterator[Explained]:
    """The explanations of the wanted units in all files; folders stand for the files in them.

    `pattern` is that of the sources of Neuronpedia's layers; without one the site is the word in the name. Raises
    `UsageError` with file and line.
    """
    asked = frozenset(wanted)
    for path in _all_files(paths):
        retrieved = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        reading = _Reading(path, banks, pattern)
        for number, values in _rows(path):
            unit, text = reading.unit(number, values), reading.text(number, values)
            if unit is None or unit not in asked:
                left.other_unit += 1
            elif not text.strip():
                left.empty += 1
            else:
                score = reading.score(number, values)
                yield Explained(
                    unit, text, str(reading.value(values, "by") or ""), "file", f"{path.name}, line {number}",
                    retrieved, score=score, score_name="" if score is None else reading.names["score"],
                )  # fmt: skip


class _Reading:
    """What the columns of one file mean, and of which source its rows are."""

    def __init__(self, path: Path, banks: Banks, pattern: str | None) -> None:
        self._path, self._banks, self._pattern = path, banks, pattern
        self.names: dict[str, str] = {}
        self._keys: frozenset[str] | None = None
        self._sources: dict[tuple[int, str], tuple[str, str]] = {}

    def value(self, values: Mapping[str, Any], meaning: str) -> Any:
        return values.get(self.names[meaning]) if meaning in self.names else None

    def text(self, number: int, values: Mapping[str, Any]) -> str:
        text = self.value(values, "explanation")
        if text is not None and not isinstance(text, str):
            self._refuse("the explanation is no text", number)
        return text or ""

    def score(self, number: int, values: Mapping[str, Any]) -> float | None:
        value = self.value(values, "score")
        if value in (None, "") or isinstance(value, bool):
            return None
        try:
            score = float(value)
        except (TypeError, ValueError):
            self._refuse(f"the score {str(value)[:40]!r} is no number", number)
        return score if abs(score) < 1e99 else None

    def unit(self, number: int, values: Mapping[str, Any]) -> Unit | None:
        """None for a unit that was not collected."""
        self._learn(values, number)
        if "label" in self.names and (label := str(self.value(values, "label") or "").strip()):
            return self._labelled(label, number)
        layer, site = self._place(number, values)
        index = self._number(self.value(values, "index"), "index", number)
        if site is None:
            return None
        bank = self._banks.find(NEURONS if site == "neuron" else SAE, site, layer)
        if bank is None or index >= bank.n_units:
            return None
        negative = bank.signed and str(self.value(values, "pole") or "+").strip() == "-"
        return Unit(bank, index + (bank.n_units if negative else 0))

    def _labelled(self, label: str, number: int) -> Unit | None:
        try:
            name = parse_unit(label)
        except UsageError as e:
            self._refuse(e.what, number)
        bank = self._banks.find(name.source, name.site, name.layer)
        return None if bank is None or name.number >= bank.n_units else self._banks.unit(name)

    def _learn(self, values: Mapping[str, Any], number: int) -> None:
        """The columns by their meaning, when a row has other keys than the one before."""
        keys = frozenset(values)
        if keys == self._keys:
            return
        self._keys = keys
        plain = {re.sub(r"[\s-]+", "_", str(key).strip()).lower(): key for key in values}
        self.names = {
            meaning: next(plain[n] for n in names if n in plain)
            for meaning, names in COLUMNS.items()
            if any(n in plain for n in names)
        }
        has_place = "label" in self.names or {"layer", "index"} <= self.names.keys()
        if not has_place or "explanation" not in self.names:
            known = "label, or layer and index; and explanation or description"
            self._refuse(f"the columns {', '.join(map(str, values))[:120]} do not name {known}", number)

    def _place(self, number: int, values: Mapping[str, Any]) -> tuple[int, str | None]:
        """Layer and site; the site is None for a source that the pattern does not fit."""
        layer, site = self.value(values, "layer"), self.value(values, "site")
        if isinstance(layer, str) and (parts := layer_and_source(layer)):
            if self._pattern is not None:
                fits = place_in(self._pattern, layer)
                if fits is None:
                    return parts[0], None
                found = fits[1] or site_of(parts[1]) or site_of(str(site or ""))
                self._one_source(fits[0], str(found), values, parts[1], number)
                return fits[0], found
            found = site_of(parts[1])
            if found is None:
                self._refuse(f"layer {layer[:40]!r} names no single site; give --source_pattern", number)
            self._one_source(parts[0], found, values, parts[1], number)
            return parts[0], found
        found = site_of(str(site)) if site not in (None, "") else None
        if found is None:
            self._refuse(f"no site (res, att, mlp or neuron) in {str(site)[:40]!r}", number)
        text = re.sub(r"\A(?:layer|blocks?)[\s._-]*", "", str(layer).strip(), flags=re.IGNORECASE)
        return self._number(text, "layer", number), found

    def _one_source(self, layer: int, site: str, values: Mapping[str, Any], source: str, number: int) -> None:
        """Refuse a second source or model of a site: its indices are not those of the same units."""
        this = (str(values.get("modelId", "")), source)
        before = self._sources.setdefault((layer, site), this)
        if before != this:
            what = f"has explanations of {'/'.join(before)} and of {'/'.join(this)}"
            self._refuse(f"{what}; choose with --source_pattern", number)

    def _number(self, value: Any, what: str, number: int) -> int:
        text = str(value).strip()
        text = text.removesuffix(".0")  # pandas writes a column of numbers with gaps so
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", text, re.ASCII):
            self._refuse(f"{what} {str(value)[:40]!r} is no number", number)
        return int(text)

    def _refuse(self, what: str, number: int) -> NoReturn:
        raise UsageError(what, where=f"{self._path}, line {number}", next_step="docs/poc7.md has the columns")


def _all_files(paths: Collection[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz", ".csv")))
            if not found:
                raise UsageError("has no .jsonl, .jsonl.gz or .csv file", where=str(path))
            yield from found
        elif path.name.endswith((".jsonl", ".jsonl.gz", ".csv")):
            if not path.is_file():
                raise UsageError("there is no such file", where=str(path))
            yield path
        else:
            raise UsageError("is not .jsonl, .jsonl.gz or .csv", where=str(path))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The values of each row, with its line. Raises `UsageError`."""
    if not path.name.endswith(".csv"):
        for number, value in json_lines(path):
            if not isinstance(value, dict):
                raise UsageError("is not an object", where=f"{path}, line {number}")
            yield number, value
        return
    if os.stat(path).st_size > MAX_CSV:  # noqa: PTH116
        raise UsageError(f"is larger than {MAX_CSV} bytes", where=str(path), next_step="Split it")
    reader = csv.DictReader(io.StringIO(read_text_input(path, max_bytes=MAX_CSV), newline=""), restkey="")
    try:
        for values in reader:
            if "" in values and isinstance(values[""], list):
                raise UsageError("has more values than columns", where=f"{path}, line {reader.line_num}")
            yield reader.line_num, {k: v for k, v in values.items() if k}
    except csv.Error as e:
        raise UsageError(f"is no CSV ({e})", where=f"{path}, line {reader.line_num}") from e
