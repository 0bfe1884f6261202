"""Labels of runs, and names of files that are made from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import shortened
from neuron_signatures.runs.tokens import encodable

_NAME_LENGTH = 100
_MOST_NAMED = 4


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """The names without duplicates: those that differ from an earlier one only in case, or not at all, get a number.

    On a file system without case they would be the same folder.
    """
    taken: set[str] = set()
    found = []
    for name in map(encodable, names):
        label, n = name, 1
        while file_name(label).casefold() in taken:
            n += 1
            label = f"{name}-{n}"
        taken.add(file_name(label).casefold())
        found.append(label)
    return tuple(found)


def file_name(label: str) -> str:
    """A name for a folder: letters, digits and `._-`, and a letter or digit first."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-._")
    return plain[:_NAME_LENGTH].rstrip("-._") or "run"


def default_name(labels: Sequence[str], reference: int) -> str:
    """Of a comparison: the labels and that of the reference, or how many runs there are."""
    others = [file_name(label) for i, label in enumerate(labels) if i != reference]
    first = "_".join(others) if len(others) <= _MOST_NAMED else f"{len(others)}-runs"
    return shortened(f"{first}_vs_{file_name(labels[reference])}")[:128]


def find_reference(wanted: str | None, labels: Sequence[str], runs: Sequence[Path]) -> int:
    """The place of the reference: that label, or that path; None is the last run. Raises `UsageError`."""
    if wanted is None:
        return len(labels) - 1
    if wanted in labels:
        return list(labels).index(wanted)
    paths = [path.absolute().resolve() for path in runs]
    if (path := Path(wanted).absolute().resolve()) in paths:
        return paths.index(path)
    raise UsageError(
        "is neither the label nor the folder of a compared run",
        where=f"--reference {wanted}", next_step=f"The labels are {', '.join(labels)}",
    )  # fmt: skip
