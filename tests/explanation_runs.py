"""Runs with explanations made by hand: logs of two sets by models, one by a rule, and what people added."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from hostile import CONTROLS, MARKUP

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.logs.names import log_name
from neuron_signatures.runs.results import meta_name

HOSTILE_TEXT = " ".join([*MARKUP, *CONTROLS]).replace("\ud800", "") + "\n<script>alert(1)</script> " + "long " * 3000
"""Everything that must be shown escaped, and more than a screen holds."""
PERSON, OTHER = "reviewer 1", "reviewer 2"
_DAY = "2026-03-04T05:{:02d}:{:02d}+00:00"


class Log:
    """Entries of one set, a second apart; every method returns the id of the new entry."""

    def __init__(self, name: str, *, minute: int = 0, **common: Any) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self._minute = minute
        self._common = common
        self._numbers: Iterator[int] = count()

    def explain(self, place: str, text: str, **fields: Any) -> str:
        """An explanation by a model; `place` is such as `L0N0+`."""
        made = {
            "explainer": "highlighted", "status": "ok", "author": "model", "client": "openai", "model": "some-model",
            "answered_by": "some-model-2026-01", "system_fingerprint": "fp_1", "temperature": 1.0, "seed": 0,
            "prompt_version": "highlighted-1", "prompt_sha256": hashlib.sha256(place.encode()).hexdigest(),
            "evidence": [3, 1, 4], "prompt_tokens": 812, "completion_tokens": 17, "cost": 0.00031, "seconds": 0.8,
            **self._common,
        }  # fmt: skip
        return self.add(place, kind="explanation", text=text, **{**made, **fields})

    def edit(self, place: str, text: str, *, parent: str | None = None, by: str = PERSON) -> str:
        return self._by_person(place, by, kind="explanation", text=text, parent=parent)

    def choose(self, place: str, best: str, values: dict[str, float | None], by: str = "rule") -> str:
        made = {"explainer": "highlighted", "status": "ok", "author": "model", **self._common}
        return self.add(place, kind="choice", text="", about=best, values=values, select_by=by, **made)

    def vote(self, place: str, about: str, value: int, by: str = PERSON) -> str:
        return self._by_person(place, by, kind="vote", text="", about=about, value=value)

    def lock(self, place: str, about: str, value: int = 1, by: str = PERSON) -> str:
        return self._by_person(place, by, kind="lock", text="", about=about, value=value)

    def note(self, place: str, about: str, text: str, by: str = PERSON) -> str:
        return self._by_person(place, by, kind="note", text=text, about=about)

    def add(self, place: str, **fields: Any) -> str:
        layer, _, rest = place.removeprefix("L").partition("N")
        n = next(self._numbers)
        made = {
            "id": hashlib.sha256(f"{self.name} {n}".encode()).hexdigest()[:16], "set": self.name, "layer": int(layer),
            "neuron": int(rest[:-1]), "pole": rest[-1],
            "created_at_utc": _DAY.format(self._minute + n // 60, n % 60),
        }  # fmt: skip
        self.entries.append(Entry(**{**made, **fields}))
        return self.entries[-1].id

    def _by_person(self, place: str, by: str, **fields: Any) -> str:
        return self.add(place, explainer="human", status="ok", author="human", author_name=by, **fields)


def write_log(run_dir: Path, log: Log, *, finished: bool = True) -> Path:
    """Write `explanations/<set>.jsonl`, and its record if the set is finished; returns the log."""
    return write_entries(run_dir, log.name, log.entries, finished=finished)


def write_entries(run_dir: Path, name: str, entries: Iterable[Entry], *, finished: bool = True) -> Path:
    folder = run_dir / EXPLANATIONS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / log_name(name)
    lines = [json.dumps(e.model_dump(mode="json"), allow_nan=False) for e in entries]
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
    if finished:
        (folder / meta_name(name)).write_text('{"stage": "poc5_explain_neurons"}\n')
    return path


def highlighted() -> Log:
    """Set `highlighted`: three samples with a choice, a revision, an edit, failures, votes, a note."""
    log = Log("highlighted")
    a = log.explain("L0N0+", "capital cities of US states", sample=0)
    b = log.explain("L0N0+", "the name of a state capital such as Austin", sample=1)
    c = log.explain("L0N0+", "words in capitals", sample=2)
    log.choose("L0N0+", b, {a: 0.31, b: 0.62, c: None})
    d = log.explain("L0N0+", "state capitals, most of all Austin", sample=1, revision=1, parent=b)
    log.choose("L0N0+", d, {a: 0.31, b: 0.62, c: None, d: 0.71})
    log.explain("L0N0-", "", status="refused", reason="I cannot help with that", cost=0.0001)
    e = log.explain("L0N1+", "cities in the south of the United States", sample=0)
    f = log.edit("L0N1+", "state capitals: Austin, Boston, Denver", parent=e)
    g = log.edit("L0N1+", "state capitals in the answer to a question about a state", parent=f, by=OTHER)
    log.vote("L0N1+", g, 1)
    log.vote("L0N1+", g, 1, by=OTHER)
    log.vote("L0N1+", e, -1)
    log.note("L0N1+", g, "checked on the report part: fires on Denver too", by=OTHER)
    log.explain("L0N2-", "keywords of Python code")
    log.explain("L0N3+", "", status="timed_out", reason="no answer within 60 s")
    log.explain("L1N0+", HOSTILE_TEXT, model="<b>model</b>\x1b[31m", answered_by="other\u202emodel")
    return log


def lookup() -> Log:
    """Set `lookup`: rules, without a language model; one of them locked."""
    rule = {
        "ngrams": [[" Austin"], [" New", " York"]], "acts": [3.0, 2.5], "threshold": 1.5, "precision": 0.98,
        "recall": 0.75, "n_active": 120, "n_named": 92,
    }  # fmt: skip
    none = {
        "client": "none", "model": None, "answered_by": None, "system_fingerprint": None, "temperature": None,
        "seed": None, "prompt_version": None, "prompt_sha256": None, "prompt_tokens": None, "completion_tokens": None,
        "cost": None, "seconds": None, "evidence": [], "explainer": "lookup",
    }  # fmt: skip
    log = Log("lookup", minute=10, **none)
    a = log.explain("L0N0+", "the token · Austin, or New York", rule=rule)
    log.explain("L0N0-", "any token after a comma", mode=1, mode_share=0.4)
    log.explain("L1N3+", "the token the")
    log.lock("L0N0+", a)
    return log


def unfinished() -> Log:
    """A set that is still being written."""
    log = Log("contrastive", minute=20, explainer="contrastive", client="local", model="smollm2", cost=None)
    log.explain("L0N2-", "words of a programming language, not of English")
    return log


def write_explanations(run_dir: Path) -> Path:
    """The three sets, in a run whose layers 0 and 1 have at least four neurons; returns the run."""
    write_log(run_dir, highlighted())
    write_log(run_dir, lookup())
    write_log(run_dir, unfinished(), finished=False)
    return run_dir
