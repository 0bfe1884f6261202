"""Checking the groups that people made of circuits, which are in no stage record."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.circuits.folder import GROUPS
from neuron_signatures.runs.circuits.groups import MAX_BYTES, parse_groups
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import CIRCUITS
from neuron_signatures.runs.opening import NotReadableError, read_regular


class GroupsCheck:
    """`known` are the files of groups, by their path in `circuits/`; `faults` one line for each that is damaged."""

    def __init__(self, run_dir: Path) -> None:
        folder = run_dir / CIRCUITS
        paths = sorted(folder.glob(f"*/{GROUPS}"))
        self.known = frozenset(path.relative_to(folder).as_posix() for path in paths)
        self.faults = [fault for path in paths if (fault := _fault(path))]


def _fault(path: Path) -> str:
    try:
        parse_groups(read_regular(path, max_bytes=MAX_BYTES), where=str(path))
    except FileNotFoundError:
        return ""  # removed meanwhile
    except BadRunError as e:
        return e.line()
    except (OSError, NotReadableError) as e:
        return BadRunError(f"cannot be read ({getattr(e, 'strerror', None) or e})", where=str(path)).line()
    return ""
