"""Reading the configuration of a pipeline: TOML with a table for each stage."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError, shorten
from neuron_signatures.runs.input_files import read_text_input
from neuron_signatures.steps.stages import BY_TABLE, SHARED, STAGES

_MAX_BYTES = 1 << 20
_EXAMPLE = "--print_example prints one to start from"
_TEXT = re.compile(r"[A-Za-z_./~]")


@dataclass(frozen=True)
class Config:
    """Tables as they are in the file; keys and values are checked when commands are made of them."""

    path: Path
    run_dir: Path
    """Relative to the working directory, as are all paths in a configuration."""
    steps: Mapping[str, tuple[Mapping[str, Any], ...]]
    """By stage, in their order."""
    shared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Raises `UsageError` for a file that cannot be read, is not TOML, or has a table that no stage has."""
    text = read_text_input(path, max_bytes=_MAX_BYTES, next_step=_EXAMPLE)
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise UsageError(f"not valid TOML ({e})", where=str(path), next_step=_quotes(text, str(e))) from e
    run_dir = raw.pop("run_dir", None)
    if not isinstance(run_dir, str) or not run_dir or "\0" in run_dir:
        what = "there is no run_dir" if run_dir is None else f"run_dir is {shorten(repr(run_dir), 60)}, no path"
        raise UsageError(what, where=str(path), next_step='Give run_dir = "runs/NAME" in the first lines')
    for name in raw:
        _refuse_unknown_table(path, name, raw[name])
    steps = {stage.table: _tables(path, stage.table, raw[stage.table]) for stage in STAGES if stage.table in raw}
    if not any(steps.values()):
        raise UsageError("there is no table of a stage", where=str(path), next_step=_EXAMPLE)
    shared: dict[str, Mapping[str, Any]] = {name: _tables(path, name, raw[name])[0] for name in SHARED if name in raw}
    return Config(path, Path(os.path.expanduser(run_dir)), steps, shared)  # noqa: PTH111  # keeps an unknown ~name


def _quotes(text: str, error: str) -> str:
    """The next step if the value in the line that the error names has no quotes, or is Python's; else empty."""
    at = re.search(r"at line (\d+)", error)
    key, _, value = text.split("\n")[int(at[1]) - 1].partition("=") if at else ("", "", "")
    key, value = key.strip(), value.partition("#")[0].strip()
    if value.lower() in ("true", "false"):
        return f"Write {key} = {value.lower()}"
    is_text = _TEXT.match(value) and not set(value) & set("\"'[]{}=")
    return f'Text needs quotes: {key} = "{shorten(value, 60)}"' if is_text else ""


def _refuse_unknown_table(path: Path, name: str, value: Any) -> None:
    known = [*BY_TABLE, *SHARED]
    if name in known:
        return
    near = get_close_matches(name, [*known, "run_dir"], n=1)
    kind = "table" if isinstance(value, dict | list) else "key"
    what = f"unknown {kind} {shorten(name, 80)!r}{f'; did you mean {near[0]}?' if near else ''}"
    raise UsageError(what, where=str(path), next_step=f"Tables: {', '.join(known)}")


def _tables(path: Path, name: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    """`[[name]]` as often as it is there, or `[name]` once."""
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(table, dict) for table in found):
        raise UsageError(f"{name} is not a table", where=str(path), next_step=f"Write [{name}] and its keys below it")
    several = name in BY_TABLE and BY_TABLE[name].several
    if len(found) > 1 and not several:
        raise UsageError(f"[{name}] can be there once only", where=str(path))
    return tuple(found)
