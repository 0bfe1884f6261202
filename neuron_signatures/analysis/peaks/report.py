"""The summary that `--mode peaks` prints."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.analysis.peaks.writing import WrittenPeaks
from neuron_signatures.analysis.report_text import neuron_name, number, percent, warning_lines, written_line
from neuron_signatures.runs.results import NEURONS, TOP_NEURONS
from neuron_signatures.runs.tokens import fit, visible

_SHOWN = 10


def peaks_lines(folder: Path, written: WrittenPeaks) -> list[str]:
    """The first selected neurons, what was counted, and how many neurons were selected."""
    record, top = written
    lines = [f"{'rank':>4}  {'neuron':12}{'mean peak':>10}{'max peak':>10}  most often at"]
    for row in top[:_SHOWN]:
        token = fit(visible(row["mode_peak_token"] or ""), 16)
        often = f"{row['mode_peak_token_count']} of {record['n_prompts']}"
        name = neuron_name(row["layer"], row["neuron"])
        mean, largest = (number(row[c]) for c in ("mean_peak_abs", "max_peak_abs"))
        lines.append(f"{row['rank']:>4}  {name:12}{mean:>10}{largest:>10}  {token} {often}")
    return [
        *lines,
        "",
        f"counted  {record['n_prompts']} prompts, {record['n_tokens']} tokens; {record['bos_rule']}",
        f"selected {record['n_selected']} of {record['n_neurons']} neurons by {record['settings']['rank_by']}, "
        f"{percent(record['selected_share'])} of its total",
        *warning_lines(record["warnings"]),
        written_line(folder, f"{NEURONS}.csv", f"{NEURONS}.parquet", TOP_NEURONS),
    ]
