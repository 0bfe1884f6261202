"""The summary that `--mode contrast` prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from neuron_signatures.analysis.contrast.writing import WrittenContrast
from neuron_signatures.analysis.report_text import neuron_name, number, warning_lines
from neuron_signatures.analysis.signatures.names import Names
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import escape, fit, visible, width
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.writes import WriteScores, writes_doubt, writes_of

_SHOWN, _TOKENS = 10, 3
_BY = {"d": "|d|", "auroc": "|AUROC - .5|", "difference": "|mean A - mean B|"}


class _Writes(NamedTuple):
    """What the shown neurons write with the sign of their pole, one text per row; notes on what is missing."""

    texts: list[str]
    notes: list[str]


def contrast_lines(run: Run, written: WrittenContrast, names: Names) -> list[str]:
    """The sides, the number of neurons found beside the null's, and the first neurons with what they write."""
    r = written.record
    rows = written.selected.head(_SHOWN).to_dict("records")
    writes = _writes(run, rows)
    heading = "what it writes" if any(writes.texts) else ""
    columns = max(map(width, [heading, *writes.texts]))
    lines = [
        _side_line("A", r["a"]),
        _side_line("B", r["b"]),
        f"test     {r['test']}, two-sided; effect: {r['effect']}; value of a prompt: {r['reduce']} of its positions",
        f"found    {found_text(r)}",
        "",
        f"{'by ' + _BY[r['rank_by']]:20}{'AUROC':>7}{'d':>9}{'mean A':>9}{'mean B':>9}{'p':>10}{'q':>10}"
        f"  {fit(heading, columns)}  signature",
    ]
    for row, text in zip(rows, writes.texts, strict=True):
        numbers = f"{number(row['auroc']):>7}{row['d']:>9.2f}{number(row['mean_a']):>9}{number(row['mean_b']):>9}"
        name = escape(names.get((row["layer"], row["neuron"], row["pole"]), ""))
        neuron = neuron_name(row["layer"], row["neuron"]) + row["pole"]
        lines.append(f"{neuron:20}{numbers}{row['p']:>10.2g}{row['q']:>10.2g}  {fit(text, columns)}  {name}".rstrip())
    lines += ["", *warning_lines([*r["warnings"], *writes.notes])]
    return [*lines, f"written  {escape(str(run.path))}/analysis: {written.stem}.*"]


def found_text(record: dict[str, Any]) -> str:
    """The number of neurons below the largest q, and what chance gives."""
    null = record["null"]
    found = f"{record['n_found']} of {record['n_tested']} neurons with q <= {record['max_q']:g}"
    if not null["n_draws"]:
        return found
    draws = f"({null['n_draws']} draws)"
    return f"{found}; shuffled labels give {null['mean']:.1f} on average, at most {null['most']} {draws}"


def _writes(run: Run, rows: Sequence[dict[str, Any]]) -> _Writes:
    """From the table of `--mode write_scores`; without it, a note with the command that makes it."""
    command = f"python -m neuron_signatures.poc2_analyze_run --run_dir {shlex.quote(str(run.path))} --mode write_scores"
    hint = f"what the neurons write, from the weights: {command}"
    try:
        found = [writes_of(run.path, NeuronAt(row["layer"], row["neuron"])) for row in rows]
    except BadRunError as e:
        return _Writes([""] * len(rows), [f"{e.line()}: {command}"])
    texts = [_stronger_side(scores, row["pole"]) for row, scores in zip(rows, found, strict=True)]
    doubt = writes_doubt(run)
    notes = [f"what the neurons write: {doubt}"] if doubt else []
    return _Writes(texts, notes if any(texts) or not rows else [hint])


def _stronger_side(scores: WriteScores | None, pole: str) -> str:
    """The tokens that the neuron's activation changes most, and whether it raises (`writes`) or lowers them."""
    if scores is None or not (scores.promotes or scores.suppresses):
        return ""
    side = max(scores.promotes, scores.suppresses, key=lambda tokens: abs(tokens[0].score) if tokens else -1)
    verb = "writes" if (side is scores.promotes) == (pole == "+") else "lowers"
    return " ".join([verb, *(repr(visible(t.token)) for t in side[:_TOKENS])])


def _side_line(name: str, side: dict[str, Any]) -> str:
    text = fit(escape(side["text"]), 40).rstrip()
    return (
        f"{name}        {text}: {side['n_prompts']} prompts, {side['n_positions']} positions, "
        f"{side['mean_position']:.1f} on average"
    )
