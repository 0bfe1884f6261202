"""Writes the files of a contrast: the table of all neurons, the selected ones, and the record."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.analysis.contrast.analyze import ContrastConfig, ContrastResult
from neuron_signatures.analysis.contrast.choose import Unit
from neuron_signatures.analysis.selection import SelectionConfig, select
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.results import ResultsWriter, contrast_stem, meta_name
from neuron_signatures.runs.stage_record import stage_record
from neuron_signatures.stats.ranks import smallest_p

# Defaults, which are not part of a name; the same as those of the flags in poc2_analyze_run.
_DEFAULT = ContrastConfig("")
_TESTS = {
    "unpaired": ("Mann-Whitney U", "Cohen's d"),
    "paired": ("Wilcoxon signed rank", "d of the differences"),
}
_SHARED_TOKENS = 0.5
_MANY = 0.02  # of the neurons tested


class WrittenContrast(NamedTuple):
    """The stem of the files, the stage record, and the selected neurons in order."""

    stem: str
    record: dict[str, Any]
    selected: pd.DataFrame


def write_contrast(writer: ResultsWriter, result: ContrastResult, selection: SelectionConfig) -> WrittenContrast:
    """Write `contrast_<...>.parquet`, `.csv`, `.json` and last `_meta.json`."""
    frame = result.frame
    score = frame["score"].abs().to_numpy()
    chosen = select(score, frame["layer"].to_numpy(), frame["neuron"].to_numpy(), selection)
    selected = frame.iloc[chosen.rows].copy()
    selected.insert(0, "rank", range(1, len(selected) + 1))
    stem = stem_of(result)
    record = contrast_record(result, selection, len(selected))
    units = {side: [_unit(u) for u in getattr(result.sides, side)] for side in ("a", "b")}
    writer.begin(meta_name(stem))
    writer.table(stem, frame, csv=False)
    writer.table(stem, selected, parquet=False, plain=("pole",))
    writer.json(f"{stem}.json", {**units, "neurons": selected.to_dict("records")})
    writer.record(meta_name(stem), record)
    return WrittenContrast(stem, record, selected)


def stem_of(result: ContrastResult) -> str:
    """The name of the files: both sides, every setting that differs from its default, a digest of the exact sides."""
    c, sides = result.config, result.sides
    parts = [
        c.reduce if c.reduce != _DEFAULT.reduce else "",
        "paired" if sides.design == "paired" else "",
        f"by-{c.rank_by}" if c.rank_by != _DEFAULT.rank_by else "",
        f"q{c.max_q:g}" if c.max_q != _DEFAULT.max_q else "",
        f"null{c.n_null}" if c.n_null != _DEFAULT.n_null else "",
        f"seed{c.seed}" if c.seed != _DEFAULT.seed else "",
        f"first{c.first_pos}" if c.first_pos is not None else "",
        "bos" if c.include_bos else "",
    ]
    a, b = (safe_id(x) if not any(map(str.isalnum, x)) else x for x in (sides.a_text, sides.b_text))
    exact = json.dumps([sides.a_text, sides.b_text])
    return contrast_stem(a, b, exact=exact, suffix="_".join(p for p in parts if p))


def contrast_record(result: ContrastResult, selection: SelectionConfig, n_selected: int) -> dict[str, Any]:
    """The stage record: settings, the sides, the test, the neurons found, and the null."""
    c, sides, null = result.config, result.sides, result.null_counts
    test, effect = _TESTS[sides.design]
    settings = {
        "a": c.a,
        "b": c.b,
        "reduce": c.reduce,
        "design": c.design,
        "rank_by": c.rank_by,
        "max_q": c.max_q,
        "n_null": c.n_null,
        "seed": c.seed,
        "first_pos": c.first_pos,
        "include_bos": c.include_bos,
        "top_k": selection.top_k,
    }
    return stage_record(
        result.run,
        "contrast",
        settings,
        a=_side(sides.a_text, sides.a),
        b=_side(sides.b_text, sides.b),
        design=sides.design,
        test=test,
        effect=effect,
        reduce=c.reduce,
        rank_by=c.rank_by,
        max_q=c.max_q,
        bos_rule=result.counted.bos_rule,
        n_repeated_positions=sides.n_repeated,
        n_common_positions=sides.n_common,
        n_prompts_left_out=sides.n_unpaired + sides.n_moved,
        smallest_p=_smallest_p(result),
        n_neurons=len(result.frame),
        n_tested=result.n_tested,
        n_found=result.n_found,
        n_selected=n_selected,
        null={
            "what": "each difference reversed with probability 1/2" if sides.design == "paired"
                    else "the prompts of both sides permuted",
            "seed": c.seed,
            "n_draws": len(null),
            "mean": float(np.mean(null)) if null else None,
            "most": max(null, default=None),
            "counts": null,
        },
        warnings=contrast_warnings(result),
    )  # fmt: skip


def contrast_warnings(result: ContrastResult) -> list[str]:
    """Warnings for readers of the list."""
    sides = result.sides
    out = _power_warnings(result)
    if result.n_found and result.null_counts and result.n_found <= max(result.null_counts):
        out.append("shuffled labels give as many neurons in some draw: the number found shows nothing")
    if result.n_found > _MANY * result.n_tested:
        what = f"{result.n_found} neurons are {result.n_found / result.n_tested:.0%} of those tested"
        out.append(f"{what}: the sides differ in more than one respect, such as wording or position")
    if _overlap(sides.a, sides.b) < _SHARED_TOKENS:
        what = "most tokens at A's positions are at no position of B"
        out.append(f"{what}: a neuron that only responds to these tokens tells the sides apart too")
    if sides.n_repeated:
        out.append(
            f"{sides.n_repeated} positions have the same text as an earlier prompt of their side and are left out"
        )
    if sides.n_common:
        out.append(f"{sides.n_common} positions are left out because their texts are on both sides")
    if sides.n_unpaired:
        out.append(f"{sides.n_unpaired} prompts are left out: they have no text of their own on one of the sides")
    if sides.n_moved:
        out.append(f"{sides.n_moved} prompts are in A and therefore not in B")
    n = len(result.frame) - result.n_tested
    return [*out, f"{n} neurons have NaN or infinite values and are not tested"] if n else out


def _power_warnings(result: ContrastResult) -> list[str]:
    p, n, q = _smallest_p(result), result.n_tested, result.config.max_q
    needed = math.ceil(p * n / q) if q else n + 1
    if needed <= 1:
        return []
    n_a, n_b = len(result.sides.a), len(result.sides.b)
    sizes = f"{n_a} pairs" if result.sides.design == "paired" else f"{n_a} against {n_b} prompts"
    few = f"with {sizes} the smallest possible p is {p:.2g}"
    other = "; --design unpaired uses more prompts" if result.sides.n_unpaired else ""
    if needed > n:
        return [f"{few}, so no neuron can have q <= {q:g}: read the list as a lead, not as a finding{other}"]
    return [f"{few}: q <= {q:g} needs {needed} of {n} neurons that separate the sides perfectly{other}"]


def _smallest_p(result: ContrastResult) -> float:
    sides = result.sides
    return smallest_p(len(sides.a), None if sides.design == "paired" else len(sides.b))


def _overlap(a: Sequence[Unit], b: Sequence[Unit]) -> float:
    """The share of A's positions whose token is at some position of B."""
    of_b = {u.prompt.token_ids[i] for u in b for i in u.positions}
    of_a = [u.prompt.token_ids[i] in of_b for u in a for i in u.positions]
    return sum(of_a) / len(of_a)


def _side(text: str, units: Sequence[Unit]) -> dict[str, Any]:
    positions = [i for u in units for i in u.positions]
    return {
        "text": text,
        "n_prompts": len(units),
        "n_positions": len(positions),
        "mean_position": sum(positions) / len(positions),
    }


def _unit(unit: Unit) -> dict[str, Any]:
    return {"prompt": unit.prompt.probe_id, "positions": list(unit.positions)}
