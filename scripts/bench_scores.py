"""How fast explanations are scored with `rule`: CPU time per pole of a neuron, with all controls and intervals.

    python scripts/bench_scores.py --run_dir runs/demo

For each pole that a set of stage 5 explains: its windows, the own explanation with 1,000 draws, five explanations of
other neurons, three texts, and the constant, the ceiling and the look-up rule. The bar is 60 ms of CPU time per pole,
which is 1,000 poles per minute on one core. Exits with 1 if it does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import Control
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.measures.simulated import SimulatorScorer, without_model
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.scorer import Item
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.choose import open_simulator
from neuron_signatures.scoring.tools import Tools

BAR_MS = 60.0
N_OTHERS = 5
_ID = "0" * 16
Times = dict[str, list[float]]


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    with Run.open(args.run_dir) as run, Records.open(run) as records:
        said = {e.at: Said(e.entry.text, e.entry.rule) for e in Explanations.open(run.path).all()}
        ats = list(said)[:: max(1, len(said) // args.poles)][: args.poles]
        scorer = SimulatorScorer(without_model(open_simulator(args.scorer)), Tools(run, records, Design()))
        asyncio.run(_score(ats[:3], said, records, scorer))  # what is kept for all neurons
        times = asyncio.run(_score(ats, said, records, scorer))
    for name, seconds in times.items():
        print(f"{name:10} {1e3 * mean(seconds):8.2f} ms of CPU time, {len(seconds) / len(ats):.0f} per pole")
    per_pole = 1e3 * sum(map(sum, times.values())) / len(ats)
    print(f"all {per_pole:.1f} ms per pole: {60e3 / per_pole:,.0f} poles per minute and core (bar: {BAR_MS:.0f} ms)")
    return int(per_pole > BAR_MS)


async def _score(
    ats: Sequence[NeuronPole], said: dict[NeuronPole, Said], records: Records, scorer: SimulatorScorer
) -> Times:
    times: Times = defaultdict(list)
    for i, at in enumerate(ats):
        start = time.process_time()
        texts = neuron_texts(records, at, Design())
        times["windows"].append(time.process_time() - start)
        others = [said[ats[(i + k) % len(ats)]] for k in range(1, N_OTHERS + 1)]
        own, shuffled = said[at], Said(" ".join(reversed(said[at].text.split())))
        items: list[tuple[Control, Said]] = [("own", own), *(("other", other) for other in others)]
        items += [("shuffled", shuffled), ("empty", Said("")), ("text", Said("text"))]
        items += [("constant", own), ("ceiling", own), ("lookup", own)]
        for control, text in items:
            start = time.process_time()
            await scorer.score(Item(at, _ID, control, text), texts)
            times[control].append(time.process_time() - start)
    return times


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, default=Path("runs/demo"), help="a run that stage 5 explained")
    parser.add_argument("--scorer", default="rule", choices=["rule", "embedding"])
    parser.add_argument("--poles", type=int, default=100)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
