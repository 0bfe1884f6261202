"""Pairs of prompts, from the flags or from a JSON file.

    {"pairs": [{"destination": "The capital of ... Dallas is", "source": "The capital of ... Oakland is", "id": "..."}]}
    {"template": "The capital of {} is", "entities": ["France", "Japan"], "answers": [" Paris", " Tokyo"]}

Of a template all ordered pairs of entities are taken; `answers` are optional and leave out an entity whose answer is
not the most likely token. `templates` is a list of templates; both prompts of a pair are of one template.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest_file import first_error

_MOST_PAIRS = 10_000
_Text = Field(min_length=1, max_length=20_000)


class PairSpec(NamedTuple):
    """Two texts. `entities` are the names of the destination's and the source's entity, empty if they are not known;
    `answers` the expected answers (None: whatever the model says)."""

    id: str
    destination: str
    source: str
    entities: tuple[str, str] = ("", "")
    answers: tuple[str | None, str | None] = (None, None)


class _Pair(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: str | None = Field(default=None, max_length=200)
    destination: str = _Text
    source: str = _Text


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    pairs: list[_Pair] | None = None
    template: str | None = None
    templates: list[str] | None = None
    entities: list[str] | None = None
    answers: list[str] | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_form(self) -> _File:
        templates = self.all_templates
        if bool(self.pairs) == bool(templates and self.entities):
            raise ValueError("needs either pairs, or a template (or templates) and entities")
        if any(t.count("{}") != 1 for t in templates):
            raise ValueError("each template needs {} once, for the entity")
        entities = self.entities or []
        if len(set(entities)) < len(entities) or not all(entities):
            raise ValueError("entities must be different and not empty")
        if self.answers is not None and len(self.answers) != len(entities):
            raise ValueError(f"{len(self.answers)} answers for {len(entities)} entities")
        return self

    @property
    def all_templates(self) -> list[str]:
        return self.templates or ([self.template] if self.template else [])


class PairFile(NamedTuple):
    """Pairs as listed, or the templates and entities that they are made of."""

    pairs: tuple[PairSpec, ...]
    templates: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    answers: tuple[str, ...] | None = None

    def of_entities(self, entities: Sequence[str]) -> tuple[PairSpec, ...]:
        """All ordered pairs of these entities, template by template."""
        known = dict(zip(self.entities, self.answers or [None] * len(self.entities), strict=True))
        return tuple(
            PairSpec(
                f"{a} to {b}" if len(self.templates) == 1 else f"{a} to {b}, template {i}",
                template.replace("{}", a), template.replace("{}", b), (a, b), (known[a], known[b]),
            )
            for i, template in enumerate(self.templates)
            for a, b in permutations(entities, 2)
        )  # fmt: skip


def read_pairs(file: Path, *, flag: str) -> PairFile:
    """Raises `UsageError` with the field for a file of another form."""
    where = f"{flag} {file}"
    try:
        raw: Any = read_json_file(file, max_bytes=RECORD_BYTES)
        found = _File.model_validate(raw)
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=where) from e
    except BadRunError as e:
        raise UsageError(e.what, where=where) from e
    except ValidationError as e:
        raise UsageError(first_error(e), where=where, next_step="docs/poc3.md has the format") from e
    if found.pairs:
        listed = tuple(PairSpec(p.id or f"pair {i}", p.destination, p.source) for i, p in enumerate(found.pairs))
        result = PairFile(listed)
    else:
        entities, templates = tuple(found.entities or ()), tuple(found.all_templates)
        n_pairs = len(templates) * len(entities) * (len(entities) - 1)
        if not 0 < n_pairs <= _MOST_PAIRS:
            raise UsageError(f"has {n_pairs} pairs; from 1 to {_MOST_PAIRS} are possible", where=where)
        result = PairFile((), templates, entities, tuple(found.answers) if found.answers else None)
        result = result._replace(pairs=result.of_entities(entities))
    if not 0 < len(result.pairs) <= _MOST_PAIRS:
        raise UsageError(f"has {len(result.pairs)} pairs; from 1 to {_MOST_PAIRS} are possible", where=where)
    return result


def split_entities(entities: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Entities to choose neurons on, and entities held out, each in their order; at least two of both.

    Raises `UsageError` if there are too few.
    """
    n_out = round(share * len(entities))
    if n_out < 2 or len(entities) - n_out < 2:
        what = f"holding out {share:g} of {len(entities)} entities leaves fewer than two on one side"
        raise UsageError(what, where="--held_out", next_step="Give more entities")
    out = set(np.random.default_rng(seed).choice(len(entities), n_out, replace=False).tolist())
    return [e for i, e in enumerate(entities) if i not in out], [e for i, e in enumerate(entities) if i in out]
