"""Do the scorers rank true explanations above false ones, and what do they cost? Markdown tables on stdout.

    python scripts/bench_scorers.py
    python scripts/bench_scorers.py --scorers logits,detection,fuzzing,surprisal --llm local:smollm2

On planted neurons (a known rule writes the activations on the demo corpus) and hand-written puzzles. The first table
has a row per scorer: AUROC of true against false explanations with its interval over neurons, the tests with missing
and with extra labels (`scoring.planted.labels`) of the score that the scorer is judged by, and the cost of one
explanation of one neuron. The second table has the kinds of neurons, the third the label tests of all scores.

Scorers that ask a language model get fewer neurons, fewer windows and one false explanation per neuron (`ASKED`).

Exits with 1 if an AUROC is below its least value, which the tests assert too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.explain.puzzles import Puzzle, read_puzzles
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import SCORERS, SIMULATORS, Scorer
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.measures.names import HEADLINE
from neuron_signatures.scoring.planted.labels import LabelTest, LabelTests, label_tests
from neuron_signatures.scoring.planted.neurons import N_FALSE, PLANTED_KINDS, Planted, PlantedKind, plant
from neuron_signatures.scoring.planted.passages import Passages, demo_passages
from neuron_signatures.scoring.planted.ranking import Ranking
from neuron_signatures.scoring.planted.records import write_planted
from neuron_signatures.scoring.planted.texts import planted_texts, sentence_texts
from neuron_signatures.scoring.planted.trial import Trial, Tried, try_scorer
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.stage.scorers import open_scorer
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

PUZZLES = Path("tests/data/puzzles.json")
N_DOCUMENTS = 2000
WITHOUT_MODEL: tuple[Scorer, ...] = ("rule", "embedding")
TOP_AND_RANDOM = "ev_correlation/top_and_random"
SCORES: dict[Scorer, str] = {
    **dict.fromkeys(SIMULATORS, TOP_AND_RANDOM), **dict.fromkeys(WITHOUT_MODEL, HEADLINE),
    "detection": "balanced_accuracy/detection", "fuzzing": "balanced_accuracy/fuzzing", "surprisal": "auroc/surprisal",
}  # fmt: skip
"""The score by which a scorer is judged. In a uniform sample of as few windows as a language model can be asked about,
a planted neuron is mostly silent. Scorers that run the model of a neuron cannot be tried on planted ones."""
MEANT: tuple[PlantedKind, ...] = ("token", "class", "pair", "negation")
"""Kinds of neurons of which the words of a text say when they are active. Nothing says where a text begins."""
LEAST: dict[str, dict[str, float]] = {
    "rule": {"token": 0.95, "class": 0.7, "pair": 0.95, "negation": 0.9},
    "embedding": {"token": 0.9, "class": 0.9, "pair": 0.9, "negation": 0.8, "puzzles": 0.7},
}
"""Least AUROC by scorer and kind. Others are reported only: a lexical match knows no word that the explanation does not
name."""


class Size(NamedTuple):
    """How much a scorer is tried on. The windows are `n_top` strongest ones, `n_random` others, and `n_uniform` of the
    uniform sample (None: all)."""

    n_top: int
    n_random: int
    n_uniform: int | None
    n_false: int
    """Most false explanations of a neuron."""
    fits: bool
    """Whether there are windows to fit thresholds and calibrations on, which the scores of SCORES do not need."""

    def design(self, seed: int) -> Design:
        return Design(
            n_top=self.n_top, n_random=self.n_random, n_uniform=self.n_uniform, n_draws=0, min_positives=1, seed=seed
        )  # fmt: skip

    def cut(self, trial: Trial) -> Trial:
        texts = trial.texts if self.fits else replace(trial.texts, fitted={})
        return Trial(trial.truth, trial.false[: self.n_false], texts)


WHOLE = Size(n_top=5, n_random=5, n_uniform=None, n_false=N_FALSE, fits=True)
ASKED = Size(n_top=5, n_random=5, n_uniform=0, n_false=1, fits=False)
"""For scorers that ask a language model: about a minute per neuron with SmolLM2-135M and all of them, on one core."""


class Row(NamedTuple):
    """What a scorer was found to do on one kind of neurons; `meant` is all of MEANT."""

    scorer: Scorer
    kind: str
    tried: Tried
    ranking: Ranking

    @property
    def least(self) -> float | None:
        return LEAST.get(self.scorer, {}).get(self.kind)

    @property
    def holds(self) -> bool:
        return self.least is None or self.ranking.auroc >= self.least


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    scorers = [name for name in SCORERS if name in args.scorers.split(",")]
    if set(args.scorers.split(",")) - set(SCORES):
        raise SystemExit(f"bench_scorers: --scorers: choose of {', '.join(SCORES)}")
    rows = check(scorers, args.neurons, args.seed, args.puzzles, n_asked=args.n_asked, llm=args.llm)
    tests = label_tests(passages(), [n for k in PLANTED_KINDS for n in planted(k, args.neurons, args.seed)],
                        Design(seed=args.seed), seed=args.seed)  # fmt: skip
    print(summary_table(rows, tests), kinds_table(rows), labels_table(tests), sep="\n\n")
    return int(not all(row.holds for row in rows))


def check(
    scorers: Sequence[Scorer], n: int, seed: int, puzzles: Path, *, n_asked: int = 0, llm: str | None = None
) -> list[Row]:
    """`n` planted neurons of each kind (`n_asked` for scorers that ask a language model), and all puzzles."""
    silent = [name for name in scorers if name in WITHOUT_MODEL]
    asking = [name for name in scorers if name not in WITHOUT_MODEL]
    rows = _rows(silent, WHOLE, n, seed, puzzles, None) if silent else []
    return rows + (_rows(asking, ASKED, n_asked, seed, puzzles, llm) if asking else [])


def _rows(scorers: Sequence[Scorer], size: Size, n: int, seed: int, puzzles: Path, llm: str | None) -> list[Row]:
    trials, rows = trials_of(size, n, seed, puzzles), []
    with _tools(size.design(seed), llm) as tools:
        for name in scorers:
            start, scorer = time.monotonic(), open_scorer(name, tools)
            tried = {kind: try_scorer(scorer, SCORES[name], some) for kind, some in trials.items()}
            tried = {"meant": _together([tried[kind] for kind in MEANT])} | tried
            rows += [Row(name, kind, found, found.ranking) for kind, found in tried.items()]
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return rows


def trials_of(size: Size, n: int, seed: int, puzzles: Path) -> dict[str, list[Trial]]:
    """By kind of neurons: `n` planted ones of each, and all puzzles."""
    design = size.design(seed)
    trials: dict[str, list[Trial]] = {kind: planted_trials(kind, n, seed, design) for kind in PLANTED_KINDS}
    trials["puzzles"] = puzzle_trials(puzzles, design)
    return {kind: [size.cut(trial) for trial in some] for kind, some in trials.items()}


def summary_table(rows: Sequence[Row], tests: Mapping[str, LabelTests]) -> str:
    """One row per scorer."""
    lines = [
        "| scorer | score | AUROC, planted (95 %) | AUROC, puzzles (95 %) | missing labels | extra labels "
        "| seconds per neuron | tokens | coverage |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by_kind = {(row.scorer, row.kind): row for row in rows}
    for scorer in dict.fromkeys(row.scorer for row in rows):
        own, score = by_kind[scorer, "meant"], SCORES[scorer]
        cells = [scorer, f"`{score}`", _auroc(own.ranking), _auroc(by_kind[scorer, "puzzles"].ranking)]
        found = tests.get(score)
        cells += ["not tested"] * 2 if found is None else [_label(found.missing), _label(found.extra)]
        cells += [f"{own.tried.seconds:.3g}", f"{own.tried.tokens:.0f}", _number(own.tried.coverage)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kinds_table(rows: Sequence[Row]) -> str:
    """`wins` and `chosen` are within a neuron (`Ranking`)."""
    lines = [
        "| scorer | neurons | n | AUROC (95 %) | least | wins | chosen | mean score, true | false | undefined, true "
        "| false |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        r = row.ranking
        cells = [row.scorer, row.kind, r.n_true, _auroc(r), "" if row.least is None else row.least, f"{r.wins:.3f}"]
        cells += [f"{r.chosen:.3f}", _number(r.true_mean), _number(r.false_mean)]
        cells += [r.n_undefined_true, r.n_undefined_false]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def labels_table(tests: Mapping[str, LabelTests]) -> str:
    """Of every score: the share of neurons on which it falls, and by how much of what it is above chance."""
    lines = ["| score | missing labels | extra labels | passes |", "|---|---|---|---|"]
    for score, found in tests.items():
        passes = "yes" if found.passes else "no"
        lines.append(f"| `{score}` | {_label(found.missing)} | {_label(found.extra)} | {passes} |")
    return "\n".join(lines)


@cache
def passages() -> Passages:
    return demo_passages(N_DOCUMENTS, seed=0)


def planted(kind: PlantedKind, n: int, seed: int) -> list[Planted]:
    return plant(passages(), kind, n, seed=seed)


def planted_trials(kind: PlantedKind, n: int, seed: int, design: Design) -> list[Trial]:
    numbered = enumerate(planted(kind, n, seed))
    return [
        Trial(Said(p.rule.truth), tuple(map(Said, p.false)), planted_texts(passages(), p, design, number=i))
        for i, p in numbered
    ]


def puzzle_trials(path: Path, design: Design) -> list[Trial]:
    return [
        Trial(Said(p.explanation), tuple(map(Said, p.false_explanations)), sentence_texts(_texts(p), design, number=i))
        for i, p in enumerate(read_puzzles(path))
    ]


def _texts(puzzle: Puzzle) -> list[Text]:
    texts = []
    for i, sentence in enumerate(puzzle.texts()):
        acts = np.array([act for _, act in sentence], np.float32)
        texts.append(Text(i, i, tuple(token for token, _ in sentence), acts, np.ones(len(acts), bool)))
    return texts


def _together(some: Sequence[Tried]) -> Tried:
    sent = [s.coverage for s in some if s.coverage is not None]
    return Tried(
        tuple(v for s in some for v in s.values), tuple(v for s in some for v in s.false_values),
        float(np.mean([s.seconds for s in some])), float(np.mean([s.tokens for s in some])),
        float(np.mean(sent)) if sent else None,
    )  # fmt: skip


@contextmanager
def _tools(design: Design, llm: str | None) -> Iterator[Tools]:
    """Of a small run: scorers take the windows that they are given."""
    few = demo_passages(100, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        silent = Planted(planted("token", 1, 0)[0].rule, (), tuple(np.zeros(len(t), np.float32) for t in few.tokens))
        write_planted(path, few, [silent])
        with Run.open(path) as run, Records.open(run) as records:
            if llm is None:
                yield Tools(run, records, design)
                return
            from neuron_signatures.llm.budget import Limits
            from neuron_signatures.llm.choose import open_client, parse_llm
            from neuron_signatures.llm.session import Session
            from neuron_signatures.runs.llm.names import RequestFiles

            session = Session(open_client(parse_llm(llm)), RequestFiles(path), None, Limits(), None, "bench_scorers")
            yield Tools(run, records, design, session)


def _auroc(ranking: Ranking) -> str:
    return f"{ranking.auroc:.3f} ({ranking.auroc_low:.3f} to {ranking.auroc_high:.3f})"


def _label(test: LabelTest) -> str:
    return f"{'falls' if test.passes else 'fails'}: {test.falls:.0%} of neurons, by {test.fall:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ",".join(WITHOUT_MODEL)
    parser.add_argument("--scorers", default=default, help=f"of {', '.join(SCORES)}; default {default}")
    parser.add_argument("--llm", metavar="MODEL", help="local:NAME or openai:MODEL, for scorers that ask one")
    parser.add_argument("--neurons", type=int, default=20, help="planted neurons of each kind; default 20")
    asked = "the same for scorers that ask a language model; default 3"
    parser.add_argument("--n_asked", type=int, default=3, metavar="N", help=asked)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--puzzles", type=Path, default=PUZZLES, metavar="FILE", help=f"default {PUZZLES}")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
