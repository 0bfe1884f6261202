"""What the command prints: separation, one similarity between and within classes, and the most specific units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from neuron_signatures.runs.plain import strict
from neuron_signatures.skills.compare.stage import Compared

HEADLINE: Final = {"measure": "cosine", "vector": "mean", "background": "left_out"}
"""The similarity that is printed: cosine of mean activations, without units that fire in most texts."""
_TOP: Final = 3
_PER_CLASS: Final = 3


def headline(frame: pd.DataFrame, *, source: str | None = None) -> pd.DataFrame:
    """The rows of the printed similarity, over all units of a source."""
    rows = frame[(frame["site"] == "") & frame["layer"].isna()]
    for name, value in HEADLINE.items():
        rows = rows[rows[name] == value]
    return rows if source is None else rows[rows["source"] == source]


def summary(found: Compared) -> dict[str, Any]:
    """For `--json`."""
    classes = list(found.facts["n_texts"])
    top = found.specific[found.specific["rank"] <= _TOP]
    keep = ["source", "class", "rank", "label", "auroc", "q", "held_out_auroc", "held_out_low", "held_out_high"]
    shown = ["level", "class_a", "skill_a", "class_b", "skill_b", "source", "value", "low", "high", "p", "n_null",
             "halves_mean"]  # fmt: skip
    between = ["source", "within", "between", "difference", "low", "high", "null_mean", "null_sd", "p", "n_null"]
    record = {
        "headline": HEADLINE, "classes": classes, "facts": found.facts,
        "separation": _records(headline(found.separation)[between]),
        "similarities": _records(headline(found.similarities)[shown]),
        "specific_units": _records(top[keep]),
    }  # fmt: skip
    return strict(record)  # type: ignore[no-any-return]


def lines(found: Compared) -> list[str]:
    """For people."""
    n = ", ".join(f"{name} {count}" for name, count in found.facts["n_texts"].items())
    out = [f"texts: {n}", "", f"similarity: cosine of mean activations, {_background(found)}"]
    for source in headline(found.separation)["source"]:
        out += ["", *_source_lines(found, str(source))]
    out += ["", "AUROC of the number of tokens (held out), what a unit that only counts them would reach:"]
    out += ["  " + ", ".join(f"{name} {v['held_out']:.2f}" for name, v in found.facts["length_auroc"].items())]
    return out


def _background(found: Compared) -> str:
    return f"without units that fire in more than {found.facts['background_share']:.0%} of all texts"


def _source_lines(found: Compared, source: str) -> list[str]:
    row = headline(found.separation, source=source).iloc[0]
    similar = headline(found.similarities, source=source)
    between, within = (similar[similar["level"] == level] for level in ("between", "within"))
    out = [
        f"{source}: halves of a class {_number(row['within'])}, classes {_number(row['between'])}, separation "
        f"{_with_interval(row, 'difference')}, p {_p(row)} (null {_number(row['null_mean'])} ± "
        f"{_number(row['null_sd'])})"
    ]
    width = max((len(f"{r.class_a} / {r.class_b}") for r in between.itertuples()), default=0)
    for _, r in between.iterrows():
        pair = f"{r['class_a']} / {r['class_b']}".ljust(width)
        halves = f"random halves {_number(r['halves_mean'])}"
        out.append(f"  {pair}  {_with_interval(r, 'value')}  p {_p(r)}  {halves}")
    if len(within):
        out.append(f"  skills of a class: {_within(within)}")
    out.append("  most specific units, found on one half; AUROC on the other half:")
    for name in found.facts["n_texts"]:
        out.append(f"    {name}: {'; '.join(_units(found.specific, source, str(name)))}")
    return out


def _within(rows: pd.DataFrame) -> str:
    parts = []
    for name, own in rows.groupby("class_a", sort=True):
        value = own["value"].dropna()
        parts.append(f"{name} {_number(value.mean()) if len(value) else '-'} ({len(own)} pairs)")
    return ", ".join(parts)


def _units(specific: pd.DataFrame, source: str, name: str) -> list[str]:
    rows = specific[(specific["source"] == source) & (specific["class"] == name) & (specific["rank"] <= _PER_CLASS)]
    return [f"{r['label']} {_with_interval(r, 'held_out_auroc', 'held_out_')}" for _, r in rows.iterrows()]


def _with_interval(row: pd.Series, name: str, prefix: str = "") -> str:
    return f"{_number(row[name])} [{_number(row[prefix + 'low'])}, {_number(row[prefix + 'high'])}]"


def _number(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _p(row: pd.Series) -> str:
    """The smallest p of so many draws is shown as a bound."""
    if pd.isna(row["p"]):
        return "-"
    smallest = 1 / (1 + row["n_null"])
    return f"≤ {smallest:.2g}" if row["p"] <= smallest * 1.0001 else f"{row['p']:.2g}"


def _records(frame: pd.DataFrame) -> Sequence[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    found: list[dict[str, Any]] = plain.to_dict("records")
    return found
