"""Draws all pictures of a comparison and writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuron_signatures.runs.canvas import write_pictures
from neuron_signatures.runs.skills.names import FIGURES, SKILLS
from neuron_signatures.skills.compare.prepared import BACKGROUNDS
from neuron_signatures.skills.compare.stage import Compared
from neuron_signatures.skills.figures import heatmaps, lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BACKGROUND = {"kept": "all units", "left_out": "background units left out", "idf": "units weighted by rarity (idf)"}


def write_figures(run_dir: Path, found: Compared, kinds: Sequence[str]) -> list[str]:
    """Write every picture in every format, in place of those of an earlier comparison. Returns the names."""
    return [f"{FIGURES}/{name}" for name in write_pictures(run_dir, f"{SKILLS}/{FIGURES}", pictures(found), kinds)]


def pictures(found: Compared) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The stem of each file with what draws it."""
    for source in dict.fromkeys(found.separation["source"]):
        similar = found.similarities[found.similarities["source"] == source]
        whole = similar[(similar["site"] == "") & similar["layer"].isna()]
        for background in BACKGROUNDS:
            rows = whole[whole["background"] == background]
            about = f"{source}, all sites and layers, {_BACKGROUND[background]}"
            yield from _heatmaps(rows, found, source, background, about)
        chosen = similar[(similar["background"] == "left_out") & (similar["vector"] == "mean")
                         & (similar["measure"] == "cosine") & (similar["level"] == "between")]  # fmt: skip
        yield from _rest(found, source, chosen[chosen["layer"].notna()], whole)


def _heatmaps(
    rows: pd.DataFrame, found: Compared, source: str, background: str, about: str
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    classes = {str(name): int(n) for name, n in found.facts["n_texts"].items()}
    pairs = rows[rows["level"] == "between"]
    yield (f"between_{source}_{background}", lambda: heatmaps.between(pairs, classes, title=f"Classes: {about}"))
    for i, (name, own) in enumerate(rows[rows["level"] == "within"].groupby("class_a", sort=True)):
        title = f"Skills of {name}: {about}"
        stem = f"within_{source}_{_safe(str(name), i)}_{background}"
        yield (stem, lambda own=own, title=title: heatmaps.within(own, title=title))  # type: ignore[misc]


def _rest(
    found: Compared, source: str, by_layer: pd.DataFrame, whole: pd.DataFrame
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    n = ", ".join(f"{name} {count}" for name, count in found.facts["n_texts"].items())
    if len(by_layer):
        title = f"{source}: similarity of classes by layer, background units left out (texts: {n})"
        yield (f"layers_{source}", lambda: lines.by_layer(by_layer, title=title, label="cosine of mean activation"))
    rows = found.frequencies[found.frequencies["source"] == source]
    yield (f"frequencies_{source}", lambda: lines.frequencies(rows, title=f"{source}: firing frequency (texts: {n})"))
    shared = whole[(whole["level"] == "within") & (whole["measure"] == "overlap") & (whole["background"] == "left_out")]
    if len(shared):
        title = f"{source}: units that the skills of a class share, background units left out"
        yield (f"skills_{source}", lambda: lines.skills(shared, title=title))


def _safe(name: str, number: int) -> str:
    """A part of a file name; names that are not plain get their number."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40]
    return plain if plain == name else f"{plain}{number}"
