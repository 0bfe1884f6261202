"""Which neurons are changed: named, from a ranked list of the run, from a file, or all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.result_records import GroupsRecord, read_record
from neuron_signatures.runs.results import GROUPS, NEURONS
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import RankedList

Pole = Literal["", "+", "-"]
_NAME = re.compile(r"L(?P<layer>\d{1,6})N(?P<neuron>\d{1,9})(?P<pole>[+-]?)", re.ASCII)
_PEAKS = ("peaks", NEURONS)
_GROUP = "group:"
DEFAULT_TOP_K = 10


class Chosen(NamedTuple):
    """A neuron, and the sign that counts: `-` or `+` is one pole of it, empty is both."""

    layer: int
    neuron: int
    pole: Pole = ""

    @property
    def label(self) -> str:
        return f"L{self.layer}N{self.neuron}{self.pole}"


class Request(NamedTuple):
    """The flags; exactly one of the first four is given."""

    names: str | None = None
    from_list: str | None = None
    json_file: Path | None = None
    every: bool = False
    top_k: int = DEFAULT_TOP_K


def choose_neurons(run: Run, request: Request) -> tuple[Chosen, ...]:
    """The neurons, in order, each once. With `every`, all neurons of the model in order.

    Raises `UsageError` for a name of no neuron of the model, an unknown list or an empty one.
    """
    given = [v for v in (request.names, request.from_list, request.json_file, request.every or None) if v is not None]
    flags = "--neurons, --from, --neurons_json or --all"
    if len(given) != 1:
        what = "no neurons" if not given else "more than one choice of neurons"
        raise UsageError(what, where=flags, next_step=f"Give one of {flags}")
    m = run.manifest
    if request.every:
        return tuple(Chosen(layer, i) for layer in range(m.n_layers) for i in range(m.d_mlp))
    if request.names is not None:
        found, where = parse_names(request.names.split(","), "--neurons"), "--neurons"
    elif request.from_list is not None:
        where = f"--from {request.from_list}"
        found = _from_list(run, request.from_list, request.top_k)
    else:
        assert request.json_file is not None
        where = str(request.json_file)
        found = parse_names(_names_of(request.json_file), where)
    if not found:
        raise UsageError("names no neurons", where=where)
    for one in found:
        if one.layer >= m.n_layers or one.neuron >= m.d_mlp:
            what = f"there is no neuron {one.label}: the model has layers 0..{m.n_layers - 1} of {m.d_mlp} neurons"
            raise UsageError(what, where=where)
    seen: set[tuple[int, int]] = set()
    for one in found:
        if one[:2] in seen:
            raise UsageError(f"L{one.layer}N{one.neuron} is named twice", where=where)
        seen.add(one[:2])
    return tuple(found)


def neurons_of_lists(run: Run, top_k: int) -> tuple[tuple[int, int], ...]:
    """The first `top_k` neurons of each ranked list of the run, ascending and each once."""
    found = {
        (chosen.layer, chosen.neuron)
        for ref in list_refs(run.path, run.manifest)
        for chosen in _first(read_list(run.path, ref), top_k)
    }
    return tuple(sorted(found))


def parse_names(names: Sequence[str], where: str) -> list[Chosen]:
    """The neurons with these names. Raises `UsageError` for another text; `where` says where it stands."""
    found = []
    for name in names:
        match = _NAME.fullmatch(name.strip())
        if match is None:
            raise UsageError(
                f"{visible(name[:60])!r} names no neuron", where=where, next_step="Write L3N508 or L3N508-"
            )
        found.append(Chosen(int(match["layer"]), int(match["neuron"]), _pole(match["pole"])))
    return found


def _pole(text: str) -> Pole:
    return "-" if text == "-" else "+" if text == "+" else ""


def _from_list(run: Run, name: str, top_k: int) -> list[Chosen]:
    """The first neurons of a ranked list, or the members of a group of signatures."""
    if name.startswith(_GROUP):
        groups = read_record(run.path, GROUPS, GroupsRecord).groups
        wanted = name.removeprefix(_GROUP)
        members = next((g.members for g in groups if g.name == wanted), None)
        if members is None:
            some = ", ".join(visible(g.name) for g in groups[:5])
            raise UsageError("there is no such group", where=f"--from {name}", next_step=f"There are {some}, ...")
        return parse_names(members[:top_k], f"--from {name}")
    refs = {ref.stem: ref for ref in list_refs(run.path, run.manifest)}
    ref = refs.get(NEURONS if name in _PEAKS else name)
    if ref is None:
        some = ", ".join([*refs][:5]) or "none yet"
        next_step = f"Use one of the run's lists ({some}), peaks, signatures or group:NAME"
        raise UsageError("there is no such ranked list", where=f"--from {name}", next_step=next_step)
    return _first(read_list(run.path, ref), top_k)


def _first(ranked: RankedList, top_k: int) -> list[Chosen]:
    found: dict[tuple[int, int], Chosen] = {}
    for i in range(len(ranked)):
        row = ranked.row(i)
        found.setdefault(row.at, Chosen(row.at.layer, row.at.neuron, _pole(row.pole)))
        if len(found) == top_k:
            break
    return list(found.values())


def _names_of(file: Path) -> list[str]:
    """A JSON list of names, or of objects with `layer`, `neuron` and perhaps `pole`; also below the key `neurons`."""
    try:
        raw = read_json_file(file, max_bytes=RECORD_BYTES)
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=str(file)) from e
    except BadRunError as e:
        raise UsageError(e.what, where=str(file)) from e
    rows = raw.get("neurons") if isinstance(raw, dict) else raw
    if not isinstance(rows, list):
        raise UsageError("is not a list of neurons", where=str(file), next_step='Such as ["L3N508", "L4N178-"]')
    return [
        f"L{row.get('layer')}N{row.get('neuron')}{row.get('pole') or ''}" if isinstance(row, dict) else str(row)
        for row in rows
    ]
