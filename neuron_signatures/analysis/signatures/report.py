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
    """Class counts of the run and of the null, and the largest groups."""
    lines = [f"{'class':14}{'neurons x poles':>16}{'shuffled tokens':>17}"]
    for name, n in result.class_counts.items():
        lines.append(f"{name:14}{n:>16}{result.null_class_counts.get(name, 0):>17}")
    lines += ["", f"groups   {len(result.groups)}"]
    for group in sorted(result.groups, key=lambda g: -int(str(g["n_members"])))[:_SHOWN]:
        lines.append(f"         {fit(escape(str(group['name'])), 32)} {group['n_members']}")
    return [
        *lines,
        f"concepts {', '.join(visible(c) for c in result.concepts)} ({result.concepts_source})",
        f"counted  {len(result.counted.prompts)} prompts, {result.counted.n_tokens} tokens",
        *warning_lines(record["warnings"]),
        written_line(folder, f"{SIGNATURES}.csv", f"{SIGNATURES}.parquet", GROUPS),
    ]
