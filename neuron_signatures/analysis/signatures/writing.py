"""Writes the files of `--mode signatures`: the table, the groups, and the record with the null."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neuron_signatures.analysis.signatures.analyze import SignatureResult
from neuron_signatures.analysis.stage_record import stage_record
from neuron_signatures.runs.results import GROUPS, SIGNATURES, SIGNATURES_META, ResultsWriter

NULL = "tokens permuted within each prompt, activations as they are"
NULL_LIMIT = "relationship rests on sparsity, which does not depend on tokens: the null keeps it"


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
        null={"what": NULL, "seed": c.null_seed, "class_counts": result.null_class_counts, "limit": NULL_LIMIT},
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
    tokens_matter = ("semantic", "say_x")
    real, null = (sum(c[k] for k in tokens_matter) for c in (result.class_counts, result.null_class_counts))
    if null > 0.2 * real:
        out.append(
            f"{null} are semantic or say_x with shuffled tokens, against {real}: these classes are not informative here"
        )
    return out
