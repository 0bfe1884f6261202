"""Logs of explanations for tests, written as lines of text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from neuron_signatures.runs.explanations.entry import Entry

_numbers = itertools.count(1)


def an_id() -> str:
    return f"{next(_numbers):016x}"


def explanation(text: str = "the word Austin", **changes: Any) -> Entry:
    """An explanation of L1N2+ by a model in set `a`."""
    fields: dict[str, Any] = {
        "id": an_id(), "set": "a", "layer": 1, "neuron": 2, "pole": "+", "text": text, "explainer": "lookup",
        "status": "ok", "author": "model", "created_at_utc": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return Entry(**{**fields, **changes})


def failed(status: str = "refused", **changes: Any) -> Entry:
    return explanation("", status=status, reason="no answer", **changes)


def by(person: str, **changes: Any) -> Entry:
    """A line of a person about the same pole."""
    return explanation(**{"text": "", "explainer": "human", "author": "human", "author_name": person, **changes})


def edit_of(entry: Entry, person: str, text: str) -> Entry:
    at = {"set": entry.set, "layer": entry.layer, "neuron": entry.neuron, "pole": entry.pole, "mode": entry.mode}
    return by(person, parent=entry.id, text=text, **at)


def about(entry: Entry, person: str, kind: str, **values: Any) -> Entry:
    at = {"set": entry.set, "layer": entry.layer, "neuron": entry.neuron, "pole": entry.pole}
    return by(person, kind=kind, about=entry.id, **at, **values)


def choice(entry: Entry, values: dict[str, float | None] | None = None) -> Entry:
    return explanation("", kind="choice", about=entry.id, values=values or {}, select_by="rule", set=entry.set)


def write_log(run_dir: Path, *entries: Entry, set_name: str = "a", tail: str = "") -> Path:
    """A log of these entries in a run folder; `tail` follows the last line."""
    path = run_dir / "explanations" / f"{set_name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{e.model_dump_json()}\n" for e in entries) + tail, encoding="utf-8")
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
