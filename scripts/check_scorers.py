"""Do the scorers without a language model rank true explanations above false ones? One table on stdout.

    python scripts/check_scorers.py --scorers rule,embedding --puzzles tests/data/puzzles.json

For planted neurons (a known rule writes the activations on the demo corpus) and hand-written puzzles. Exits with 1 if
an AUROC is below its least value, which the tests assert too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.explain.puzzles import Puzzle, read_puzzles
from neuron_signatures.scoring.planted.neurons import PLANTED_KINDS, PlantedKind, plant
from neuron_signatures.scoring.planted.passages import Passages, demo_passages
from neuron_signatures.scoring.planted.ranking import Case, Ranking, rank_truths
from neuron_signatures.scoring.simulators.choose import SIMULATORS, open_simulator
from neuron_signatures.scoring.texts import Text

PUZZLES = Path("tests/data/puzzles.json")
N_DOCUMENTS = 2000
LEAST: dict[str, dict[str, float]] = {
    "rule": {"token": 0.95, "class": 0.7, "pair": 0.95, "negation": 0.9},
    "embedding": {"token": 0.9, "class": 0.9, "pair": 0.9, "negation": 0.8, "puzzles": 0.7},
}
"""Least AUROC by scorer and kind. Others are reported only: nothing in the words of a text says where it begins, and a
lexical match knows no word that the explanation does not name."""


class Row(NamedTuple):
    scorer: str
    kind: str
    ranking: Ranking

    @property
    def least(self) -> float | None:
        return LEAST[self.scorer].get(self.kind)

    @property
    def holds(self) -> bool:
        return self.least is None or self.ranking.auroc >= self.least


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    rows = check(args.scorers.split(","), args.neurons, args.seed, args.puzzles)
    print(table(rows))
    return int(not all(row.holds for row in rows))


def check(scorers: Sequence[str], n: int, seed: int, puzzles: Path) -> list[Row]:
    """`n` planted neurons of each kind, on `select`, and all puzzles."""
    cases = {kind: planted_cases(kind, n, seed) for kind in PLANTED_KINDS} | {"puzzles": puzzle_cases(puzzles)}
    rows = []
    for scorer in scorers:
        simulator = open_simulator(scorer)
        rows += [Row(scorer, kind, rank_truths(simulator, of_kind)) for kind, of_kind in cases.items()]
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown. `wins` and `chosen` are within a neuron (`Ranking`); r is `correlation/uniform`."""
    lines = [
        "| scorer | neurons | n | AUROC | least | wins | chosen | mean r, true | false | undefined, true | false |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for scorer, kind, r in rows:
        least = LEAST[scorer].get(kind)
        cells = [scorer, kind, r.n_true, f"{r.auroc:.3f}", "" if least is None else least, f"{r.wins:.3f}"]
        cells += [f"{r.chosen:.3f}", _number(r.true_mean), _number(r.false_mean)]
        cells += [r.n_undefined_true, r.n_undefined_false]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


@cache
def passages() -> Passages:
    return demo_passages(N_DOCUMENTS, seed=0)


def planted_cases(kind: PlantedKind, n: int, seed: int) -> list[Case]:
    neurons = plant(passages(), kind, n, seed=seed)
    return [Case(p.rule.truth, p.rule.truth, p.false, p.texts(passages(), "select")) for p in neurons]


def puzzle_cases(path: Path) -> list[Case]:
    """All sentences are scored."""
    return [Case(p.name, p.explanation, tuple(p.false_explanations), _texts(p)) for p in read_puzzles(path)]


def _texts(puzzle: Puzzle) -> list[Text]:
    texts = []
    for i, sentence in enumerate(puzzle.texts()):
        acts = np.array([act for _, act in sentence], np.float32)
        texts.append(Text(i, i, tuple(token for token, _ in sentence), acts, np.ones(len(acts), bool)))
    return texts


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorers", default="rule", help=f"of {', '.join(SIMULATORS)}; default rule")
    parser.add_argument("--neurons", type=int, default=20, help="planted neurons of each kind; default 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--puzzles", type=Path, default=PUZZLES, metavar="FILE", help=f"default {PUZZLES}")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
