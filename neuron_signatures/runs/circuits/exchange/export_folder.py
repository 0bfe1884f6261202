"""The folder of an export: whether a circuit may be written there, and the list of its graphs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.circuits.exchange.from_json import read_graph_file
from neuron_signatures.runs.circuits.exchange.supernodes import to_supernodes
from neuron_signatures.runs.circuits.exchange.to_json import DISTRIBUTION
from neuron_signatures.runs.circuits.groups import GroupsFile
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.opening import folder_below

log = logging.getLogger(__name__)

LIST: Final = "graph-metadata.json"
"""The list of graphs. It is written last: a folder without it is no export."""

_ELSEWHERE: Final = "Name an empty folder, or add --overwrite"


def check_folder(folder: Path, names: Collection[str], *, overwrite: bool) -> None:
    """Raise `UsageError` if `export_circuit` would refuse to write circuits of these names, before they are traced."""
    where = str(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError("is not a folder", where=where)
    if overwrite or not folder.exists():
        return
    graphs = listed_graphs(folder)
    if graphs is None and not any(itertools.islice(folder.iterdir(), 1)):
        return
    if graphs is None or not all(map(_is_ours, graphs)):
        raise UsageError("the folder is not empty and is no export of this program", where=where, next_step=_ELSEWHERE)
    for slug in sorted({str(g.get("slug")) for g in graphs} & {safe_id(name) for name in names}):
        if not _is_as_written(folder / f"{slug}.json"):
            what = f"{slug}.json has been changed since it was exported, perhaps by saving it in a viewer"
            next_step = "Import it, name another folder, or add --overwrite"
            raise UsageError(what, where=where, next_step=next_step)


def _is_as_written(path: Path) -> bool:
    """Whether the pins, groups and names in a file of ours are those that it was written with."""
    if not path.exists():
        return True
    try:
        file = read_graph_file(path)
    except UsageError:
        return False
    own, params = file.neuron_signatures, file.qParams
    if own is None or params.clerps:
        return False
    try:
        groups = GroupsFile.model_validate(own.groups)
    except ValidationError:
        return False
    written = to_supernodes(groups, [node.node_id for node in file.nodes])
    return params.pinnedIds == written.pinned and params.supernodes == written.supernodes


def listed_graphs(folder: Path) -> list[dict[str, Any]] | None:
    """The entries of the list of graphs; None if there is none that can be read."""
    try:
        found = read_json_file(folder / LIST, max_bytes=RECORD_BYTES)
    except FileNotFoundError:
        return None
    except BadRunError as e:
        log.warning("%s", e)
        return None
    graphs = found.get("graphs") if isinstance(found, dict) else None
    return graphs if isinstance(graphs, list) and all(isinstance(g, dict) for g in graphs) else None


def _is_ours(entry: dict[str, Any]) -> bool:
    info = entry.get("info")
    generator = info.get("generator") if isinstance(info, dict) else None
    return isinstance(generator, dict) and generator.get("name") == DISTRIBUTION


def make_folders(folder: Path, below: str) -> None:
    """Make the folder and its subfolders, none of which may be a link."""
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        parts = below.split("/")
        for depth in range(1, len(parts) + 1):
            with folder_below(folder, "/".join(parts[:depth]), create=True):
                pass
