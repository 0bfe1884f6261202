"""How well look-up rules from `explain` predict activity on `select`, against the rules of other neurons.

    python scripts/lookup_precision.py runs/smol

For both poles of all neurons of a run whose activations are stored. Prints tables in Markdown: precision, recall and F1
with 95 % intervals over neurons, beside the null (rules of other neurons of the same layer on this neuron), by thirds
of the layers; then rules with the best F1, some at random, and the worst, unedited.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.lookup.describe import describe
from neuron_signatures.scoring.lookup.rule import rule_of
from neuron_signatures.scoring.ngrams import longest_match
from neuron_signatures.scoring.nulls import Draw, draw_others
from neuron_signatures.scoring.texts import SIGN, uniform_texts
from neuron_signatures.stats.bootstrap import bootstrap_weights
from neuron_signatures.stats.pooled_null import Null, null_of

N_DRAWS = 2000
PER_NEURON = 20
"""Other neurons' rules per pole in the null."""


class Shares(NamedTuple):
    """NaN where undefined: precision if nothing is named, recall if nothing is active, F1 if neither is."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Found:
    """A pole with a rule: what it names and where it is active, at all counted positions of `select`."""

    at: NeuronPole
    rule: Rule
    active: np.ndarray
    named: np.ndarray
    own: Shares


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    with Records.open(args.run_dir) as records:
        neurons = records.sampled_neurons[: args.first]
        poles = [NeuronPole(layer, neuron, pole) for layer, neuron in neurons for pole in SIGN]
        found = find_all(records, poles)
        layers = records.layers
    draws = draw_others([f.at for f in found], per_neuron=PER_NEURON, seed=args.seed)
    by_pole = {f.at: f for f in found}
    null = {draw: shares(by_pole[draw.at].active, by_pole[draw.other].named) for draw in draws}
    print(_table(layers, poles, found, null, args.seed))
    print(_examples(found, args.seed))
    return 0


def find_all(records: Records, poles: Sequence[NeuronPole]) -> list[Found]:
    """The poles that have a rule."""
    found = []
    for i, at in enumerate(poles):
        if i % 100 == 0:
            print(f"{i} of {len(poles)}", file=sys.stderr)
        rule = rule_of(records, at)
        if rule is None:
            continue
        texts = uniform_texts(records, at, parts=("select",))
        active = np.concatenate([(t.acts >= rule.threshold)[t.counts] for t in texts])
        named = np.concatenate([(longest_match(rule.ngrams, t.tokens) >= 0)[t.counts] for t in texts])
        found.append(Found(at, rule, active, named, shares(active, named)))
    return found


def shares(active: np.ndarray, named: np.ndarray) -> Shares:
    """Precision, recall and F1 of the named positions."""
    both, n_active, n_named = int((active & named).sum()), int(active.sum()), int(named.sum())
    return Shares(
        both / n_named if n_named else np.nan, both / n_active if n_active else np.nan,
        2 * both / (n_active + n_named) if n_active + n_named else np.nan,
    )  # fmt: skip


def _table(
    layers: Sequence[int], poles: Sequence[NeuronPole], found: Sequence[Found], null: dict[Draw, Shares], seed: int
) -> str:
    thirds = [tuple(int(v) for v in part) for part in np.array_split(layers, 3) if len(part)]
    groups: list[tuple[str, Callable[[NeuronPole], bool]]] = [("all", lambda at: True)]
    groups += [(f"layers {t[0]} to {t[-1]}", lambda at, t=t: at.layer in t) for t in thirds]
    groups += [(f"pole {pole}", lambda at, pole=pole: at.pole == pole) for pole in SIGN]
    pooled = {layer: null_of([_or_none(v.f1) for d, v in null.items() if d.at.layer == layer]) for layer in layers}
    lines = [
        "| poles | n | with a rule | precision on explain | precision | null | recall | null | F1 | null | base rate "
        "| p ≤ .05 | names nothing | not active |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, is_in in groups:
        own = [f for f in found if is_in(f.at)]
        others = [v for draw, v in null.items() if is_in(draw.at)]
        cells = [name, str(sum(map(is_in, poles))), str(len(own)), f"{np.mean([f.rule.precision for f in own]):.3f}"]
        for i in range(3):
            by_chance = f"{np.nanmean([v[i] for v in others]):.3f}"
            cells += [_with_interval([(f.at, f.own[i]) for f in own], seed), by_chance]
        cells.append(f"{np.mean([f.active.mean() for f in own]):.4f}")
        cells.append(f"{np.mean([_p(f, pooled[f.at.layer]) <= 0.05 for f in own]):.3f}")
        cells += [str(sum(not f.named.any() for f in own)), str(sum(not f.active.any() for f in own))]
        lines.append(f"| {' | '.join(cells)} |")
    lengths = [len(f.rule.ngrams) for f in found]
    lines.append(f"\nn-grams per rule: median {np.median(lengths):.0f}, largest {max(lengths)}. Draws of the null: ")
    lines[-1] += f"{len(null)}, F1 {np.nanmean([v.f1 for v in null.values()]):.3f} ± "
    lines[-1] += f"{np.nanstd([v.f1 for v in null.values()]):.3f} (standard deviation).\n"
    return "\n".join(lines)


def _p(found: Found, null: Null) -> float:
    """How often another neuron's rule has as good an F1; 1 if the neuron's own is undefined."""
    share = None if np.isnan(found.own.f1) else null.share_at_least(found.own.f1)
    return 1.0 if share is None else share


def _with_interval(values: Sequence[tuple[NeuronPole, float]], seed: int) -> str:
    """The mean over defined values, with its interval over neurons: both poles of a neuron are drawn together."""
    neurons = {key: i for i, key in enumerate(sorted({at[:2] for at, _ in values}))}
    sums = np.zeros((len(neurons), 2))
    for at, value in values:
        if not np.isnan(value):
            sums[neurons[at[:2]]] += (value, 1)
    random = np.random.default_rng(seed)
    drawn = bootstrap_weights([("", "")] * len(neurons), n_draws=N_DRAWS, rng=random) @ sums
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return f"{sums[:, 0].sum() / sums[:, 1].sum():.3f} [{low:.3f}, {high:.3f}]"


def _examples(found: Sequence[Found], seed: int, n: int = 10) -> str:
    defined = sorted((f for f in found if not np.isnan(f.own.f1)), key=lambda f: (-f.own.f1, f.at))
    drawn = [defined[i] for i in sorted(np.random.default_rng(seed).permutation(len(defined))[:n])]
    lines = []
    for name, some in (("best F1", defined[:n]), ("at random", drawn), ("worst F1", defined[-n:])):
        lines += [f"{name} on select:\n", "| neuron | rule | precision | recall | active | named |"]
        lines.append("|---|---|---|---|---|---|")
        for f in some:
            text = describe(f.rule).replace("|", "\\|")
            values = f"{_two(f.own.precision)} | {_two(f.own.recall)} | {f.active.sum()} | {f.named.sum()}"
            lines.append(f"| {f.at.label} | `{text}` | {values} |")
        lines.append("")
    return "\n".join(lines)


def _two(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, metavar="RUN")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N neurons")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
