"""The summary that `--mode contrast` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.analysis.contrast.writing import WrittenContrast
from neuron_signatures.analysis.report_text import neuron_name, number, warning_lines
from neuron_signatures.analysis.signatures.names import Names
from neuron_signatures.runs.tokens import escape, fit

_SHOWN = 10
_BY = {"d": "|d|", "auroc": "|AUROC - .5|", "difference": "|mean A - mean B|"}


def contrast_lines(folder: Path, written: WrittenContrast, names: Names) -> list[str]:
    """The sides, the number of neurons found beside the null's, and the first neurons."""
    r = written.record
    lines = [
        _side_line("A", r["a"]),
        _side_line("B", r["b"]),
        f"test     {r['test']}, two-sided; effect: {r['effect']}; value of a prompt: {r['reduce']} of its positions",
        f"found    {found_text(r)}",
        "",
        f"{'by ' + _BY[r['rank_by']]:20}{'AUROC':>7}{'d':>9}{'mean A':>9}{'mean B':>9}{'p':>10}{'q':>10}  signature",
    ]
    for row in written.selected.head(_SHOWN).to_dict("records"):
        numbers = f"{number(row['auroc']):>7}{row['d']:>9.2f}{number(row['mean_a']):>9}{number(row['mean_b']):>9}"
        name = escape(names.get((row["layer"], row["neuron"], row["pole"]), ""))
        neuron = neuron_name(row["layer"], row["neuron"]) + row["pole"]
        lines.append(f"{neuron:20}{numbers}{row['p']:>10.2g}{row['q']:>10.2g}  {name}".rstrip())
    stem = written.stem
    return [*lines, "", *warning_lines(r["warnings"]), f"written  {escape(str(folder))}/analysis: {stem}.*"]


def found_text(record: dict[str, Any]) -> str:
    """The number of neurons below the largest q, and what chance gives."""
    null = record["null"]
    found = f"{record['n_found']} of {record['n_tested']} neurons with q <= {record['max_q']:g}"
    if not null["n_draws"]:
        return found
    draws = f"({null['n_draws']} draws)"
    return f"{found}; shuffled labels give {null['mean']:.1f} on average, at most {null['most']} {draws}"


def _side_line(name: str, side: dict[str, Any]) -> str:
    text = fit(escape(side["text"]), 40).rstrip()
    return (
        f"{name}        {text}: {side['n_prompts']} prompts, {side['n_positions']} positions, "
        f"{side['mean_position']:.1f} on average"
    )
