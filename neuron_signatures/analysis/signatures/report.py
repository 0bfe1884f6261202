"""The summary that `--mode signatures` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.analysis.report_text import warning_lines, written_line
from neuron_signatures.analysis.signatures.analyze import SignatureResult
from neuron_signatures.runs.results import GROUPS, SIGNATURES
from neuron_signatures.runs.tokens import escape, fit, visible

_SHOWN = 10


def signatures_lines(folder: Path, result: SignatureResult, record: dict[str, Any]) -> list[str]:
    """Class counts of the run and of the nulls, and the largest groups; n is the number of different texts."""
    lines = [*_class_lines(record), "", f"groups   {len(result.groups)}"]
    for group in result.groups[:_SHOWN]:
        n = group["n_texts"]
        texts = f"n {min(n)}" if min(n) == max(n) else f"n {min(n)} to {max(n)}"
        lines.append(f"         {fit(escape(group['name']), 32)} {group['n_members']:>5}  {texts}")
    return [
        *lines,
        f"concepts {', '.join(visible(c) for c in result.concepts)} ({result.concepts_source})",
        f"counted  {len(result.counted.prompts)} prompts, {result.counted.n_tokens} tokens",
        *warning_lines(record["warnings"]),
        written_line(folder, f"{SIGNATURES}.csv", f"{SIGNATURES}.parquet", GROUPS),
    ]


def _class_lines(record: dict[str, Any]) -> list[str]:
    """Per class: poles, poles under each null (mean and range), and the share that positions do not explain."""
    null, reasons = record["null"], record["unclassified_because"]
    n_draws = null["other_prompts"]["n_draws"]
    lines = [f"{'class':14}{'neurons x poles':>16}{'named':>7}{'shuffled':>24} {'other prompts':>24}{'precision':>11}"]
    for name, n in record["class_counts"].items():
        if name != "unclassified":
            shuffled, other = (null[k]["classes"][name] for k in ("shuffled", "other_prompts"))
            precision = "-" if other["precision"] is None else f"{other['precision']:.2f}"
            lines.append(
                f"{name:14}{n:>16}{record['n_named'][name]:>7}"
                f"{_spread(shuffled):>24} {_spread(other):>24}{precision:>11}"
            )
    few, q = record["settings"]["min_active"], record["settings"]["max_q"]
    return [
        *lines,
        f"{'unclassified':14}{record['class_counts']['unclassified']:>16}",
        f"         {reasons['chance']} with q above {q:g} ({record['n_tested']} tested), "
        f"{reasons['no_rule']} fit no class, {reasons['few_texts']} with fewer than {few} texts, "
        f"{reasons['weak_pole']} weak poles",
        f"nulls    mean and range of {n_draws} draws: tokens shuffled in each prompt; tokens of other prompts at the",
        "         same positions, which the precision is against (1 - mean / poles)",
    ]


def _spread(counts: dict[str, Any]) -> str:
    mean, low, high = (counts[k] for k in ("mean", "low", "high"))
    return "-" if mean is None else f"{mean:.1f} ({low} to {high})"
