"""`poc6_score_explanations summary` and `compare`: tables of what was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import folder
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.tokens import escape

if TYPE_CHECKING:
    import pandas as pd

    from neuron_signatures.runs.scores.across_runs import Compared, RunScores
    from neuron_signatures.runs.scores.summary import Comparison, Summary

_PROG = "python -m neuron_signatures.poc6_score_explanations"
_BY = ("layer", "pole", "explainer")
_LEGEND = (
    "null: explanations of other neurons; lift: mean - null; > null and p<=.05: shares of poles (chance for p: 5 %);\n"
    "ceiling: the neuron predicted by its own rounded activations; look-up: its look-up rule. docs/poc6.md has the rest"
)


def summary_main(argv: Sequence[str]) -> int:
    """Print the scores of a run over neurons: mean with interval, null, lift, shares above the null, failures.

    Of several runs, also the difference of each from the first: units of other kinds beside neurons.
    """
    args = summary_parser().parse_args(argv)
    setup_logging(quiet=False)
    from neuron_signatures.runs.scores.across_runs import compare_runs
    from neuron_signatures.runs.scores.summary import summarise

    runs = [_scores_of(at, _names(args.sets), _names(args.scorers), name=args.name) for at in args.run_dir]
    runs = _distinct(runs, args.run_dir)
    rows = [(run, row) for run in runs for row in summarise(run.table, by=args.by or ())]
    compared = compare_runs(runs) if not args.by else None
    if args.json:
        for run, row in rows:
            emit_json({"run": run.label, "units": run.units, **asdict(row)})
        for difference in compared.differences if compared else ():
            emit_json(asdict(difference))
        return ExitCode.OK
    lines = summary_lines([row for _, row in rows], [run for run, _ in rows] if len(runs) > 1 else None)
    emit("\n".join([*lines, *([_LEGEND] if rows else [])]))
    if compared and len(runs) > 1:
        emit("\n".join(["", *difference_lines(compared), *(f"note: {escape(n)}" for n in compared.notes)]))
    return ExitCode.OK


def compare_main(argv: Sequence[str]) -> int:
    """Compare two sets of explanations on the poles that both have scores of: pole by pole, by each scorer."""
    args = compare_parser().parse_args(argv)
    setup_logging(quiet=False)
    from neuron_signatures.runs.scores.summary import compare

    rows = compare(_table(args.run_dir, (args.a, args.b), _names(args.scorers), name=None), args.a, args.b)
    if args.json:
        for row in rows:
            emit_json(asdict(row))
    else:
        emit("\n".join(comparison_lines(rows)))
    return ExitCode.OK


def summary_parser() -> Parser:
    """The flags of `summary`."""
    parser = _parser("summary", summary_main.__doc__, several=True)
    parser.add_argument("--sets", metavar="LIST", help="only of these sets of explanations")
    parser.add_argument("--scorers", metavar="LIST", help="only by these scorers")
    parser.add_argument("--name", metavar="NAME", help="only of one log: its file stem, such as lookup__rule")
    parser.add_argument("--by", choices=_BY, action="append", help="for each layer, pole or explainer; may be repeated")
    return parser


def compare_parser() -> Parser:
    """The flags of `compare`."""
    parser = _parser("compare", compare_main.__doc__)
    parser.add_argument("--a", required=True, metavar="SET", help="a set of explanations")
    parser.add_argument("--b", required=True, metavar="SET", help="another one")
    parser.add_argument("--scorers", metavar="LIST", help="only by these scorers")
    return parser


def summary_lines(rows: Sequence[Summary], runs: Sequence[RunScores] | None = None) -> list[str]:
    """A table for people, with the run of each row if there are several; empty where nothing is defined."""
    head = ("run", "units", "set", "scorer", "score", "of", "poles", "mean", "95 %", "median", "null",
            "lift", "> null", "p<=.05", "ceiling", "look-up", "not scored")  # fmt: skip
    names = [("", "")] * len(rows) if runs is None else [(run.label, run.units) for run in runs]
    cells = [(*name, *_summary_cells(row)) for name, row in zip(names, rows, strict=True)]
    return _columns([head, *cells]) if rows else ["no scores"]


def difference_lines(compared: Compared) -> list[str]:
    """A table for people: each run less the first."""
    if not compared.differences:
        return ["no score is compared"]
    head = ("run", "units", "less", "set", "scorer", "score", "poles", "difference", "95 %")
    cells = [
        (d.run_a, d.units_a, d.run_b, d.set, d.scorer, d.score, f"{d.n_a}, {d.n_b}", _number(d.difference),
         _interval(d.low, d.high))
        for d in compared.differences
    ]  # fmt: skip
    return _columns([head, *cells])


def comparison_lines(rows: Sequence[Comparison]) -> list[str]:
    """A table for people; differences are a - b."""
    head = ("scorer", "score", "poles", "neurons", "mean a", "mean b", "a - b", "95 %", "a wins", "only one")
    cells = [
        (_scorer(r), r.score, str(r.n), str(r.n_neurons), _number(r.mean_a), _number(r.mean_b), _number(r.difference),
         _interval(r.low, r.high), _share(r.wins), str(r.n_only_one))
        for r in rows
    ]  # fmt: skip
    return [f"a: {rows[0].a}, b: {rows[0].b}", *_columns([head, *cells])]


def _summary_cells(r: Summary) -> tuple[str, ...]:
    group = ", ".join(f"{k} {v}" for k, v in r.group.items())
    lost = [f"{n:,} {reason}" for reason, n in (*r.failed.items(), *r.undefined.items())]
    return (
        r.set, _scorer(r), r.score, group, str(r.n), _number(r.mean), _interval(r.low, r.high), _number(r.median),
        _number(r.null_best), _number(r.lift), _share(r.share_above_null), _share(r.share_significant),
        _number(r.ceiling), _number(r.lookup), ", ".join(lost),
    )  # fmt: skip


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned; empty columns are left out."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    shown = [[escape(row[i]) for i in used] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(used))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in shown]


def _table(run_dir: Path, sets: Sequence[str], scorers: Sequence[str], *, name: str | None) -> pd.DataFrame:
    """The rows that are asked for. Without a name, values on `select` are left out, since they are no scores."""
    return _scores_of(run_dir, sets, scorers, name=name).table


def _scores_of(run_dir: Path, sets: Sequence[str], scorers: Sequence[str], *, name: str | None) -> RunScores:
    """The scores of a run, as `_table` gives them."""
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.scores.across_runs import RunScores
    from neuron_signatures.runs.scores.reader import Scores
    from neuron_signatures.runs.units import unit_kind

    with Run.open(run_dir) as run:
        label, units = run.path.name or str(run.path), unit_kind(run.manifest)
        scores = Scores.open(run)
        if not scores.names:
            next_step = f"Make some: poc6_score_explanations --run_dir {run.path}"
            raise UsageError("the run has no scores", where=str(run.path), next_step=next_step)
        table = scores.table(name)
        settings = {
            (s.set, str(s.scorer), s.scorer_model or ""): s.settings for s in scores.sets if s.split == "report"
        }
    if name is None:
        table = table[table["split"] == "report"]
    for column, wanted in (("set", sets), ("scorer", scorers)):
        if missing := [w for w in wanted if w not in set(table[column])]:
            there = ", ".join(sorted(set(table[column]))[:10]) or "none"
            raise UsageError(f"there are no scores of the {column} {missing[0]!r}; there are: {there}")
        if wanted:
            table = table[table[column].isin(list(wanted))]
    return RunScores(label, units, table, settings)


def _distinct(runs: list[RunScores], folders: Sequence[Path]) -> list[RunScores]:
    """With the folders as given where two runs have the same name."""
    if len({run.label for run in runs}) == len(runs):
        return runs
    return [replace(run, label=str(at)) for run, at in zip(runs, folders, strict=True)]


def _parser(name: str, about: str | None, *, several: bool = False) -> Parser:
    parser = Parser(prog=f"{_PROG} {name}", description=about)
    if several:
        parser.add_argument("--run_dir", type=folder, required=True, nargs="+", metavar="DIR",
                            help="runs with scores; the others are compared with the first")  # fmt: skip
    else:
        parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run with scores")
    parser.add_argument("--json", action="store_true", help="one line of JSON per row on stdout")
    return parser


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(filter(None, (part.strip() for part in text.split(","))))


def _scorer(row: Summary | Comparison) -> str:
    return f"{row.scorer} ({row.scorer_model})" if row.scorer_model else row.scorer


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} .. {high:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
