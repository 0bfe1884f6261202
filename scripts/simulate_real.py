"""Scores explanations with the simulator `logits` of a local model: own, those of other neurons of the layer, none.

    python scripts/simulate_real.py --run_dir runs/smol --set highlighted__smollm2 --out_file out/logits.jsonl

One line per neuron and control goes to the file as soon as it is there; the same command goes on where it was stopped.
At the end, and with `--only_report` of what is there, it prints the mean of each score over neurons and the differences
own - other and own - empty, with 95 % intervals by a bootstrap over neurons.

All neurons are scored on the same windows of the uniform sample (and on their own strongest windows), so what an
explanation predicts there is computed once for all neurons that it is applied to. Nothing is calibrated, so the scores
that need windows of another part are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.choose import open_client, parse_llm
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.measures.simulated import SimulatorScorer
from neuron_signatures.scoring.nulls import draw_others
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.scorer import Item, Scored
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.logits import LogitsSimulator
from neuron_signatures.scoring.tools import Tools

SCORES = ("correlation/uniform", "ev_correlation/top_and_random", "auprc/uniform")
CONTROLS = ("own", "other", "empty")
N_DRAWS = 10_000


@dataclass(frozen=True)
class Explained:
    at: NeuronPole
    id: str
    said: Said


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if not args.only_report:
        asyncio.run(score_all(args))
    report(args.out_file)
    return 0


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--set", required=True, help="of explanations")
    parser.add_argument("--out_file", type=Path, required=True)
    parser.add_argument("--llm", default="local:smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n_top", type=int, default=3)
    parser.add_argument("--n_random", type=int, default=5)
    parser.add_argument("--n_uniform", type=int, default=24, help="windows of the uniform sample, the same for all")
    parser.add_argument("--min_positives", type=int, default=2, help="active positions that a score needs")
    parser.add_argument("--minutes", type=float, default=30.0, help="begin no neuron after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only_report", action="store_true")
    return parser.parse_args(argv)


async def score_all(args: argparse.Namespace) -> None:
    """Append the scores of every neuron that the file does not have, one layer after the other."""
    end = time.monotonic() + 60 * args.minutes
    design = Design(
        n_top=args.n_top, n_random=args.n_random, min_positives=args.min_positives, n_draws=100, seed=args.seed
    )
    with ExitStack() as stack:
        run = stack.enter_context(Run.open(args.run_dir))
        records = stack.enter_context(Records.open(run))
        explained = _explained(run, args.set)
        others = {draw.at: draw.other for draw in draw_others(list(explained), per_neuron=1, seed=args.seed)}
        client = open_client(replace(parse_llm(args.llm), device=args.device))
        session = Session(client, RequestFiles(args.run_dir), None, Limits(), None, "score")
        tools = Tools(run, records, design, session)
        scorer = SimulatorScorer(LogitsSimulator(tools), tools)
        done = {(line["neuron"], line["control"]) for line in _lines(args.out_file)}
        for n, (at, own) in enumerate(explained.items(), start=1):
            if time.monotonic() > end:
                print(f"{n - 1} of {len(explained)} neurons in {args.minutes} minutes", file=sys.stderr)
                break
            texts = _on_shared_windows(records, neuron_texts(records, at, design), args)
            items = [Item(at, own.id, "own", own.said), Item(at, own.id, "empty", Said(""))]
            if at in others:
                other = explained[others[at]]
                items.append(Item(at, other.id, "other", other.said))
            for item in items:
                if (at.label, item.control) not in done:
                    _append(args.out_file, item, await scorer.score(item, texts))
            print(f"{n} of {len(explained)} neurons", file=sys.stderr)
        await client.close()


def _explained(run: Run, set_name: str) -> dict[NeuronPole, Explained]:
    """The current explanations of a set that are ok, by layer; of each layer's neurons in their order."""
    found = {}
    for shown in Explanations.open(run, sets=[set_name]).all():
        if shown.current and shown.entry.status == "ok":
            at = NeuronPole(shown.entry.layer, shown.entry.neuron, shown.entry.pole)
            found[at] = Explained(at, shown.id, Said(shown.entry.text, shown.entry.rule))
    return dict(sorted(found.items()))


def _on_shared_windows(records: Records, texts: NeuronTexts, args: argparse.Namespace) -> NeuronTexts:
    """The same windows of the uniform sample for every neuron; random ones from among them; nothing to fit on."""
    uniform = texts.scored["uniform"]
    order = np.random.default_rng(args.seed).permutation(len(uniform))[: args.n_uniform]
    shared = tuple(uniform[i] for i in sorted(order.tolist()))
    in_top = {text.window for text in texts.scored["top"]}
    random = tuple(text for text in shared if text.window not in in_top)[: args.n_random]
    return replace(texts, scored={"top": texts.scored["top"], "random": random, "uniform": shared}, fitted={})


def _append(path: Path, item: Item, scored: Scored) -> None:
    measures = scored.measures
    line = {
        "neuron": item.at.label, "layer": item.at.layer, "control": item.control, "explanation": item.explanation,
        "text": item.said.text, "coverage": [scored.statuses.count("ok"), len(scored.statuses)],
        "scores": {name: measures[name].value for name in SCORES},
        "undefined": {name: measures[name].undefined for name in SCORES},
        "n_positive": measures["auprc/uniform"].n_positive, "n": measures["auprc/uniform"].n,
        "seconds": round(scored.seconds, 1), "prompt_tokens": scored.prompt_tokens,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def report(path: Path) -> None:
    """Print the means and the paired differences. Undefined scores are counted and left out, pairs as a whole."""
    lines = _lines(path)
    layers = {line["neuron"]: line["layer"] for line in lines}
    print(f"{len(layers)} neurons; by layer: {dict(sorted(Counter(layers.values()).items()))}")
    for name in SCORES:
        print(name)
        by_control = {
            c: {line["neuron"]: line["scores"][name] for line in lines if line["control"] == c} for c in CONTROLS
        }
        for control, values in by_control.items():
            print(f"  {control:12}", _mean([values.get(n) for n in layers]))
        own = by_control["own"]
        for control in CONTROLS[1:]:
            null = by_control[control]
            differences = [
                None if own.get(n) is None or null.get(n) is None else own[n] - null[n] for n in layers
            ]  # fmt: skip
            wins = [d > 0 for d in differences if d is not None]
            print(f"  {'own-' + control:12}", f"{_mean(differences)}; own is better in {sum(wins)} of {len(wins)}")


def _mean(values: Sequence[float | None]) -> str:
    """The mean, its 95 % interval, and how many values are defined."""
    defined = np.array([v for v in values if v is not None])
    if not len(defined):
        return f"undefined (0 of {len(values)})"
    drawn = np.random.default_rng(0).choice(defined, (N_DRAWS, len(defined))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{defined.mean():+.3f} [{low:+.3f}, {high:+.3f}] ({len(defined)} of {len(values)})"


if __name__ == "__main__":
    sys.exit(main())
