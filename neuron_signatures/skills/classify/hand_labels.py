"""Hand labels: CSV or JSONL with `class`, `answer`, and the unit as `label` or as `source`, `site`, `layer`, `unit`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.explain.exchange.reading import json_lines
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import SMALL_BYTES, read_text_input
from neuron_signatures.runs.skills.units import Banks, Unit, parse_unit
from neuron_signatures.skills.classify.answers import HAND, VERDICTS
from neuron_signatures.skills.classify.items import Pair
from neuron_signatures.skills.classify.rating import Rating

_PLACE = ("source", "site", "layer", "unit")


def read_hand_labels(path: Path, pairs: Sequence[Pair], classes: Collection[str], banks: Banks) -> list[Rating]:
    """The labels of those pairs; labels of other units are left out.

    Raises `UsageError` with the line for a row that cannot be read, an unknown class, a unit that was not collected and
    a pair that is labelled twice.
    """
    of_pair = {(pair.unit.unit, pair.name): pair for pair in pairs if not pair.is_control}
    found: dict[tuple[Unit, str], Rating] = {}
    seen: dict[tuple[Unit, str], int] = {}
    for number, values in _rows(path):
        where = f"{path}, line {number}"
        key = (_unit(values, banks, where), _class(values, classes, where))
        answer = str(values.get("answer", "")).strip().lower()
        if answer not in VERDICTS:
            raise UsageError(f"the answer {answer[:40]!r} is not yes, no or uncertain", where=where)
        if key in seen:
            raise UsageError(f"{key[0].label} and {key[1]} are labelled in line {seen[key]} too", where=where)
        seen[key] = number
        if key in of_pair:
            found[key] = Rating(of_pair[key], HAND, answer=answer)
    if not found:
        what = f"labels none of the {len(of_pair)} pairs of an explained unit and a class"
        raise UsageError(what, where=str(path), next_step="Explain its units first, such as with --units")
    return list(found.values())


def _unit(values: Mapping[str, Any], banks: Banks, where: str) -> Unit:
    """By its label, or by source, site, layer and the column of the bank."""
    try:
        if label := str(values.get("label") or "").strip():
            return banks.unit(parse_unit(label))
        if missing := [name for name in _PLACE if values.get(name) in (None, "")]:
            raise UsageError(f"has no {missing[0]}, and no label")
        unit = str(values["unit"]).strip()
        if not re.fullmatch(r"\d{1,9}", unit, re.ASCII):
            return banks.unit(parse_unit(unit))
        if not re.fullmatch(r"\d{1,5}", str(values["layer"]).strip(), re.ASCII):
            raise UsageError(f"the layer {str(values['layer'])[:40]!r} is no number")
        source, site, layer = str(values["source"]).strip(), str(values["site"]).strip(), int(values["layer"])
        bank = banks.find(source, site, layer)
        if bank is None:
            raise UsageError(f"{source[:40]} {site[:40]} of layer {layer} was not collected")
        return Unit(bank, int(unit))
    except UsageError as e:
        raise UsageError(e.what, where=where, next_step=e.next_step) from e


def _class(values: Mapping[str, Any], classes: Collection[str], where: str) -> str:
    name = str(values.get("class", "")).strip()
    if name not in classes:
        raise UsageError(f"there is no class {name[:60]!r}; there are {', '.join(classes)}", where=where)
    return name


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.name.endswith(".csv"):
        for number, value in json_lines(path):
            if not isinstance(value, dict):
                raise UsageError("is not an object", where=f"{path}, line {number}")
            yield number, value
        return
    reader = csv.DictReader(io.StringIO(read_text_input(path, max_bytes=SMALL_BYTES), newline=""), restkey="")
    try:
        for values in reader:
            yield reader.line_num, {str(k).strip().lower(): v for k, v in values.items()}
    except csv.Error as e:
        raise UsageError(f"is no CSV ({e})", where=f"{path}, line {reader.line_num}") from e
