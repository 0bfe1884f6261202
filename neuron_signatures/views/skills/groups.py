"""Which rows of the tables of skills are shown: by source, site, layer, background and measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BACKGROUND_WORDS: Final = {
    "kept": "all units", "left_out": "without units that fire in most texts", "idf": "rare units weigh more",
}  # fmt: skip
VECTOR_WORDS: Final = {
    "set": "sets of firing units", "frequency": "share of texts", "log1p_count": "log(1 + number of texts)",
    "mean": "mean activation",
}  # fmt: skip
_MEASURES: Final = ("cosine", "jaccard", "overlap", "pearson", "spearman", "dot")
OUTCOME_WORDS: Final = {
    "effect": "on texts of the class",
    "against_others": "less that on other classes",
    "class_tokens": "on its tokens in other texts",
}
MODE_WORDS: Final = {
    "collect": "texts and units", "compare": "similarities and specific units", "explain": "explanations",
    "classify": "classification of explanations", "steer": "steering",
}  # fmt: skip


class Group(NamedTuple):
    """Banks that are compared together: of one source, at one site or all (empty), in one layer or all (None)."""

    source: str
    site: str
    layer: int | None

    @property
    def label(self) -> str:
        site = "" if self.site in ("neuron", "") else f" {self.site}"
        every = " all sites" if self.source != "neurons" and not self.site else ""
        return f"{self.source}{site}{every}, {'all layers' if self.layer is None else f'layer {self.layer}'}"


class Kind(NamedTuple):
    """What was compared, how, and against which background."""

    measure: str
    vector: str
    background: str

    @property
    def label(self) -> str:
        of = "" if self.vector == "set" else f" of {VECTOR_WORDS.get(self.vector, self.vector)}"
        return f"{self.measure}{of}"


def groups_of(frame: pd.DataFrame) -> list[Group]:
    """The groups of banks in a table: the widest first, then by source, site and layer."""
    found = frame[["source", "site", "layer"]].drop_duplicates()
    groups = [
        Group(str(source), str(site or ""), _layer(layer)) for source, site, layer in found.itertuples(index=False)
    ]
    return sorted(groups, key=lambda g: (g.layer is not None, g.source != "sae", g.source, g.site != "", g.site,
                                         -1 if g.layer is None else g.layer))  # fmt: skip


def kinds_of(frame: pd.DataFrame) -> list[Kind]:
    """The kinds of similarity in a table; the headline first: cosine of mean activations without the background."""
    found = frame[["measure", "vector", "background"]].drop_duplicates()
    kinds = [Kind(*map(str, row)) for row in found.itertuples(index=False)]
    return sorted(kinds, key=_kind_order)


def _kind_order(kind: Kind) -> tuple[bool, str, int, bool, str]:
    at = _MEASURES.index(kind.measure) if kind.measure in _MEASURES else len(_MEASURES)
    return kind.background != "left_out", kind.background, at, kind.vector != "mean", kind.vector


def rows_of(frame: pd.DataFrame, group: Group, kind: Kind | None = None) -> pd.DataFrame:
    """The rows of one group of banks, and of one kind of similarity."""
    site = frame["site"].fillna("")
    same = (frame["source"] == group.source) & (site == group.site)
    same &= frame["layer"].isna() if group.layer is None else frame["layer"] == group.layer
    if kind is not None:
        for name, value in kind._asdict().items():
            same &= frame[name] == value
    return frame[same]


class SquareTable(NamedTuple):
    """Similarities of every two of some names; NaN where undefined. `rows` holds the row of the table of each cell,
    -1 where there is none."""

    names: list[str]
    values: np.ndarray
    rows: np.ndarray
    same: list[bool]
    """Of each name: whether its diagonal cell is the similarity of random halves."""


def square(frame: pd.DataFrame, level: str, within: str = "") -> SquareTable:
    """Similarities of classes (`between`), or of the skills of the class `within`. The diagonal is that of random
    halves, which is about the largest that can be reached."""
    some = frame[frame["level"] == level]
    column = "class" if level == "between" else "skill"
    if level != "between":
        some = some[(some["class_a"] == within) & (some["class_b"] == within)]
    a, b = some[f"{column}_a"].astype(str), some[f"{column}_b"].astype(str)
    names = sorted({*a, *b})
    at = {name: i for i, name in enumerate(names)}
    values, rows = np.full((len(names), len(names)), np.nan), np.full((len(names), len(names)), -1)
    halves: list[list[float]] = [[] for _ in names]
    for number, (left, right, value, half) in enumerate(zip(a, b, some["value"], some["halves_mean"], strict=True)):
        i, j = at[left], at[right]
        values[i, j] = values[j, i] = value
        rows[i, j] = rows[j, i] = number
        for k in (i, j):
            halves[k].append(half)
    same = []
    for i, found in enumerate(halves):
        defined = [v for v in found if v == v]
        same.append(bool(defined) and rows[i, i] < 0)
        if same[-1]:
            values[i, i] = float(np.mean(defined))
    return SquareTable(names, values, rows, same)


def classes_with_skills(frame: pd.DataFrame) -> list[str]:
    """The classes whose skills were compared with each other."""
    return sorted({str(c) for c in frame.loc[frame["level"] == "within", "class_a"]})


def best_first(sources: Sequence[str]) -> list[str]:
    """Sources in the order in which they are shown: autoencoders, neurons, then directions by name."""
    return sorted(set(sources), key=lambda s: (s != "sae", s != "neurons", s))


def _layer(value: Any) -> int | None:
    import pandas as pd

    return None if pd.isna(value) else int(value)
