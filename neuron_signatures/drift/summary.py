"""What the command prints: CKA, the most drifted neurons, own best matches, steps, and what was not aligned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs.comparisons.folder import (
    ALL_LAYERS,
    CHECKPOINTS,
    DRIFT,
    MODELS,
    STEPS,
    UNALIGNED,
)
from neuron_signatures.runs.errors import escape_controls, shorten
from neuron_signatures.runs.plain import strict
from neuron_signatures.stats.chance import shown_p

_MOST_DRIFTED: Final = 10
_MOST_LEFT_OUT: Final = 12
_LABEL: Final = 28


def summary(found: Compared, *, run: str, name: str) -> dict[str, Any]:
    """For `--json`."""
    record = {
        "run": run, "name": name, "facts": found.facts, "warnings": found.warnings,
        "checkpoints": _records(found[CHECKPOINTS]), "models": _records(found[MODELS]),
        "steps": _records(found[STEPS]), "most_drifted": _records(most_drifted(found)),
        "unaligned": _records(found[UNALIGNED].head(1000)), "n_unaligned": len(found[UNALIGNED]),
    }  # fmt: skip
    return strict(record)  # type: ignore[no-any-return]


def most_drifted(found: Compared, n: int = _MOST_DRIFTED) -> pd.DataFrame:
    """Of each pair with the reference, the neurons with the smallest Pearson (a neuron that does not vary has none)."""
    rows = found.to_reference(DRIFT)
    parts = [own.nsmallest(n, "pearson") for _, own in rows.groupby("a", sort=True)]
    return pd.concat(parts, ignore_index=True) if parts else rows


def lines(found: Compared, *, run: str, name: str) -> list[str]:
    """For people."""
    return [
        *_runs(found), *_cka(found), *_steps(found), *_neurons(found), *_left_out(found),
        *(f"note: {escape_controls(warning)}" for warning in found.warnings),
        f"written  {escape_controls(run)}/comparisons/{name}",
    ]  # fmt: skip


def _runs(found: Compared) -> Iterator[str]:
    f = found.facts
    repeated = f"; {f['n_repeated_tokens']} repeat the beginning of another prompt" if f["n_repeated_tokens"] else ""
    yield f"compared  {f['n_tokens']:,} tokens of {f['n_prompts']:,} prompts ({f['bos_rule']}{repeated})"
    for row in found[CHECKPOINTS].to_dict("records"):
        loss = "" if pd.isna(row["loss"]) else f"  loss {row['loss']:.3f}"
        mark = "  reference" if row["reference"] else "" if row["n_tokens"] else "  NOT COMPARED"
        yield f"  {row['checkpoint']}  {_label(row['label'])}{loss}{mark}"


def _cka(found: Compared) -> Iterator[str]:
    """The table of debiased CKA to the reference."""
    labels, reference = found.labels, found.reference
    rows = found.to_reference(MODELS)
    if rows.empty:
        return
    yield ""
    yield f"debiased linear CKA to {labels[reference]} ({found.facts['n_cka_tokens']:,} tokens) [95 % over prompts]"
    width = max((len(_label(labels[a])) for a in rows["a"].unique()), default=0)
    for a, own in rows.groupby("a", sort=True):
        whole = own[own["layer"] == ALL_LAYERS].iloc[0]
        by_layer = "  ".join(f"L{r.layer} {_number(r.debiased_cka)}" for r in _few(own[own["layer"] != ALL_LAYERS]))
        yield (
            f"  {_label(labels[int(a)]).ljust(width)}  all layers {_interval(whole, 'debiased_cka')}, permuted tokens "
            f"{whole['null_mean']:+.3f} ± {whole['null_sd']:.3f}, p {_p(whole)}"
        )
        yield f"  {' ' * width}  {by_layer}"


def _few(rows: pd.DataFrame) -> list[Any]:
    """At most twelve layers, evenly chosen."""
    every = list(rows.itertuples())
    step = max(1, -(-len(every) // 12))
    return every[::step]


def _steps(found: Compared) -> Iterator[str]:
    rows = found[STEPS][found[STEPS]["layer"] == ALL_LAYERS]
    if len(rows) < 2:
        return
    labels = found.labels
    yield ""
    yield "change of this CKA from each run to the next, all layers"
    for _, row in rows.iterrows():
        share = "-" if pd.isna(row["largest_share"]) else f"{row['largest_share']:.0%}"
        per_layer = found[STEPS][(found[STEPS]["layer"] != ALL_LAYERS)]
        size = per_layer.assign(size=per_layer["change"].abs())
        largest = size.loc[size.groupby("layer")["size"].idxmax().dropna()]
        n = int((largest["a"] == row["a"]).sum())
        yield (
            f"  {_label(labels[int(row['a'])])} to {_label(labels[int(row['b'])])}: {_interval(row, 'change')}, the "
            f"largest in {share} of the draws, and in {n} of {largest['layer'].nunique()} layers"
        )


def _neurons(found: Compared) -> Iterator[str]:
    labels, reference = found.labels, found.reference
    for facts in found.facts["pairs"]:
        if facts["b"] != reference:
            continue
        yield ""
        yield f"neurons of {_label(labels[facts['a']])}, same index as in {_label(labels[reference])}"
        yield from _same_index(facts)
        own = most_drifted(found, 5)
        own = own[(own["a"] == facts["a"]) & (own["pearson"] < 1)]
        if len(own):
            yield "  smallest Pearson: " + "; ".join(_drifted(row) for row in own.to_dict("records"))


def _same_index(facts: dict[str, Any]) -> Iterator[str]:
    for name, title in (("pearson", "Pearson"), ("jaccard", "Jaccard")):
        if facts.get(name, {}).get("n"):
            value, null = facts[name], facts.get(f"{name}_permuted_indices", {})
            yield (
                f"  {title}: median {value['median']:.3f} ({value['p25']:.3f} to {value['p75']:.3f}), mean "
                f"{value['mean']:.3f}; permuted indices {null.get('mean', float('nan')):+.3f} ± "
                f"{null.get('sd', float('nan')):.3f}"
            )
    if "matches" in facts:
        m = facts["matches"]
        yield (
            f"  best match at the same index: {m['best_is_same_index']:,} of {m['n']:,}, one-to-one "
            f"{m['assigned_is_same_index']:,}; best match above permuted tokens: {m['best_above_null']:,}"
        )


def _drifted(row: dict[str, Any]) -> str:
    z = "" if pd.isna(row["mean_z"]) else f", mean {row['mean_z']:+.1f} z"
    return f"L{row['layer']}N{row['neuron']} {_number(row['pearson'])}{z}"


def _left_out(found: Compared) -> Iterator[str]:
    rows = found[UNALIGNED]
    if not len(rows):
        return
    yield ""
    yield f"not compared ({len(rows)}; table unaligned)"
    labels = found.labels
    for row in rows.head(_MOST_LEFT_OUT).to_dict("records"):
        name = f"{row['what']} {_label(row['name'])}"
        yield f"  {_label(labels[row['checkpoint']])}: {name} {escape_controls(row['why'])}"
    if len(rows) > _MOST_LEFT_OUT:
        yield f"  and {len(rows) - _MOST_LEFT_OUT} more"


def _label(text: str) -> str:
    return shorten(escape_controls(text), _LABEL)


def _interval(row: Any, name: str) -> str:
    return f"{_number(row[name])} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _p(row: Any) -> str:
    return shown_p(row["p"], row["n_null"])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    found: list[dict[str, Any]] = plain.to_dict("records")
    return found
