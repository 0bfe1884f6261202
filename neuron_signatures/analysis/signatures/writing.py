"""Writes the files of `--mode signatures`: the table, the groups, and the record with the null."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neuron_signatures.analysis.signatures.analyze import SignatureResult
from neuron_signatures.analysis.signatures.nulls import null_counts
from neuron_signatures.runs.results import GROUPS, SIGNATURES, SIGNATURES_META, ResultsWriter
from neuron_signatures.runs.stage_record import stage_record

SHUFFLED = "tokens permuted within each prompt, activations as they are"
OTHER_PROMPTS = "each prompt has the tokens of another prompt of similar length, position by position"
NULL_LIMIT = "no null tests the sparsity of relationship, only that its peaks fall on one token"
LOW_PRECISION = 0.8


def write_signatures(writer: ResultsWriter, result: SignatureResult) -> dict[str, Any]:
    """Write `signatures`, `groups.json` and last `signatures_meta.json`; returns that record."""
    record = signatures_record(result)
    writer.begin(SIGNATURES_META)
    writer.table(SIGNATURES, result.frame, plain=("pole",))
    writer.json(GROUPS, {"n_groups": len(result.groups), "groups": result.groups})
    writer.record(SIGNATURES_META, record)
    return record


def signatures_record(result: SignatureResult) -> dict[str, Any]:
    """The stage record: settings, the tokens counted, concepts, class counts of the run and of the null."""
    c, counted = result.config, result.counted
    settings = {
        "first_pos": c.first_pos,
        "include_bos": c.include_bos,
        "functional_tokens": c.functional.source,
        "n_functional_tokens": len(c.functional.directions),
        "active_above": c.active_above,
        "active_share": c.active_share,
        "min_concept_prompts": c.min_concept_prompts,
        "min_shared_tokens": c.min_shared_tokens,
        "target_window": c.target_window,
        "wilson_z": c.wilson_z,
        "n_null": c.n_null,
        "null_seed": c.null_seed,
        **asdict(c.rules),
    }
    return stage_record(
        result.run,
        "signatures",
        settings,
        **counted.record(),
        seed_prompt=result.seed_prompt,
        concepts=dict(zip(result.concepts, result.n_containing, strict=True)),
        concepts_source=result.concepts_source,
        depth="layer / (n_layers - 1)",
        n_rows=len(result.frame),
        class_counts=result.class_counts,
        n_named=_named(result),
        unclassified_because=result.reasons,
        n_tested=int(result.frame["p"].notna().sum()),
        null={
            "seed": c.null_seed,
            "shuffled": _null(SHUFFLED, result.shuffled_counts, result.class_counts),
            "other_prompts": _null(OTHER_PROMPTS, result.other_prompt_counts, result.class_counts),
            "limit": NULL_LIMIT,
        },
        n_groups=len(result.groups),
        n_nonfinite=sum(p.prompt.nonfinite for p in counted.prompts),
        warnings=signatures_warnings(result),
    )


def signatures_warnings(result: SignatureResult) -> list[str]:
    """Warnings for readers of the classes."""
    out = result.counted.warnings()
    n = sum(p.prompt.nonfinite for p in result.counted.prompts)
    if n:
        out.append(f"{n} values of the run are NaN or infinite and are ignored")
    missing = [c for c, k in zip(result.concepts, result.n_containing, strict=True) if not k]
    if missing:
        out.append(f"concepts that occur in no prompt: {', '.join(missing[:10])}")
    for kind in ("semantic", "say_x", "relationship"):
        n = result.class_counts[kind]
        precision = null_counts(result.other_prompt_counts, kind).precision(n)
        if precision is not None and precision < LOW_PRECISION:
            out.append(f"precision of {kind} is {precision:.2f} against tokens of other prompts: read it with care")
    unnamed = result.class_counts["say_x"] - _named(result)["say_x"]
    if unnamed:
        out.append(
            f"{unnamed} say_x poles have no name: their functional token precedes no target more often at their peaks "
            "than elsewhere"
        )
    return out


def _named(result: SignatureResult) -> dict[str, int]:
    named = result.frame["class"][result.frame["name"].notna()]
    return {kind: int((named == kind).sum()) for kind in result.class_counts if kind != "unclassified"}


def _null(what: str, draws: list[dict[str, int]], observed: dict[str, int]) -> dict[str, Any]:
    """A null in the record: per class the mean, the range and the precision of the class counts over its draws."""
    classes = {kind: null_counts(draws, kind).record(n) for kind, n in observed.items() if kind != "unclassified"}
    return {"what": what, "n_draws": len(draws), "classes": classes}
