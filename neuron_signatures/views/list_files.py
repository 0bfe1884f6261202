"""Reading the ranked lists of a run from its folder, with how each was made."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.results import (
    ANALYSIS_META,
    NEURONS,
    SIGNATURES,
    SIGNATURES_META,
    list_influence,
    meta_name,
    read_arrow,
    read_json,
    table_name,
)
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.columns import texts_of, typed
from neuron_signatures.views.odd import ODD, odd_is_broken, what_is_odd
from neuron_signatures.views.origin import another_dump
from neuron_signatures.views.ranked import Kind, ListRef, RankedList

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "peaks": ("layer", "neuron", "mean_peak_abs", "max_act", "max_act_prompt", "max_act_pos", "max_act_token",
              "min_act", "min_act_prompt", "min_act_pos", "min_act_token", "mode_peak_token", "n_peaks"),
    "influence": ("layer", "neuron", "influence", "ctx_idx", "ctx_token", "activation"),
    "signatures": ("layer", "neuron", "pole", "class", "name", "n_active", "max_peak", "mode_peak_token"),
}  # fmt: skip


def list_refs(run_dir: Path, manifest: Manifest | None = None) -> list[ListRef]:
    """The finished lists of a run: influence, newest first, then peaks and signatures. Reads their records only.

    With the manifest of the run, the lists of another dump say so.
    """
    influence = [_ref(run_dir, "influence", stem, meta_name(stem), manifest) for stem in list_influence(run_dir)]
    influence.sort(key=lambda r: r.stem)
    influence.sort(key=lambda r: r.created_at_utc, reverse=True)
    others = []
    for kind, stem, record in (("peaks", NEURONS, ANALYSIS_META), ("signatures", SIGNATURES, SIGNATURES_META)):
        with contextlib.suppress(UsageError):  # not made yet
            others.append(_ref(run_dir, kind, stem, record, manifest))  # type: ignore[arg-type]
    return influence + others


def read_list(run_dir: Path, ref: ListRef) -> RankedList:
    """Raises `UsageError` if it has gone, `BadRunError` if its files are damaged."""
    if ref.problem:
        raise UsageError(ref.problem, where=ref.stem)
    with odd_is_broken(ref.stem):
        return _read(run_dir, ref)


def _read(run_dir: Path, ref: ListRef) -> RankedList:
    record = read_json(run_dir, _record_name(ref))
    columns = _COLUMNS[ref.kind]
    table = typed(read_arrow(run_dir, ref.stem, columns=columns, coded=texts_of(columns)), columns)
    name = {"peaks": "mean_peak_abs", "influence": "influence", "signatures": "max_peak"}[ref.kind]
    score = table.column(name).to_numpy().astype(np.float64)  # null becomes NaN
    score = np.where(np.isfinite(score), score, np.nan)
    first = np.argsort(-np.abs(score), kind="stable")
    table, score = table.take(first), score[first]
    return RankedList(
        ref, _score_name(ref, record), _meta(ref, record),
        tuple(map(str, [*filter(None, [ref.doubt]), *(record.get("warnings") or ())])),
        np.asarray(table.column("layer").to_numpy(), np.int64), np.asarray(table.column("neuron").to_numpy(), np.int64),
        score, table, str(record["prompt_id"]) if ref.kind == "influence" else None,
    )  # fmt: skip


def _ref(run_dir: Path, kind: Kind, stem: str, record_name: str, manifest: Manifest | None) -> ListRef:
    try:
        record = read_json(run_dir, record_name)
        doubt = "" if manifest is None else another_dump(manifest, record)
        return ListRef(kind, stem, _title(kind, record), str(record["created_at_utc"]), doubt=doubt)
    except UsageError:
        raise
    except (ProjectError, *ODD) as e:
        what = e.what if isinstance(e, ProjectError) else what_is_odd(e)
        return ListRef(kind, stem, stem, "", f"{record_name}: {what}")


def _title(kind: Kind, record: dict[str, Any]) -> str:
    if kind == "peaks":
        return f"peaks over {record['n_prompts']} prompts"
    if kind == "signatures":
        counts = record["class_counts"]
        return f"signatures: {counts['semantic']} semantic, {counts['say_x']} say-x"
    target = record["target"]
    foil = f" - {visible(target['foil']['token'])}" if target.get("foil") else ""
    where = f"{record['prompt_id']} at {target['pos']}"
    return f"{record['metric']} → {visible(target['token']['token'])}{foil} ({target['mode']}), {where}"


def _score_name(ref: ListRef, record: dict[str, Any]) -> str:
    if ref.kind == "influence":
        return f"influence ({record['target']['function']})"
    return "mean peak |act|" if ref.kind == "peaks" else "largest peak"


def _meta(ref: ListRef, record: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    made = ("made", f"{record['created_at_utc']} by {record['stage']} --mode {record['mode']}")
    if ref.kind == "influence":
        target = record["target"]
        token = target["token"]
        probability = f"p {token['probability']:.3g}, rank {token['rank']}"
        lines = [
            ("metric", str(record["metric"])),
            (
                "target",
                f"{visible(token['token'])} ({token['token_id']}) after position {target['pos']}, {probability}",
            ),
        ]
        if target.get("foil"):
            lines.append(("foil", f"{visible(target['foil']['token'])} ({target['foil']['token_id']})"))
        lines += [
            ("prompt", str(record["prompt_id"])),
            ("function", f"{target['function']} = {target['value']:.4g}"),
            ("|influence|", f"{record['total_abs_influence']:.4g} in all, {record['n_selected']} neurons selected "
                            f"hold {record['selected_share']:.0%}"),
        ]  # fmt: skip
        return (*lines, made)
    tokens = ("tokens", f"{record['n_tokens']} of {record['n_prompts']} prompts; {record['bos_rule']}")
    if ref.kind == "peaks":
        return tokens, ("score", "mean over prompts of the largest |act|"), made
    null = record.get("null") or {}
    counts = ", ".join(f"{k} {v}" for k, v in record["class_counts"].items())
    shuffled = ", ".join(f"{k} {v}" for k, v in (null.get("class_counts") or {}).items())
    return ("classes", counts), ("shuffled", shuffled or "not computed"), tokens, made


def files_of(ref: ListRef) -> tuple[str, str]:
    """Names, in `analysis/`, of what `read_list` reads."""
    return _record_name(ref), table_name(ref.stem)


def _record_name(ref: ListRef) -> str:
    return {"peaks": ANALYSIS_META, "signatures": SIGNATURES_META}.get(ref.kind) or meta_name(ref.stem)
