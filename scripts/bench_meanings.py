"""Are neurons with one rule and with two rules told apart by their effective number of meanings? Markdown on stdout.

    python scripts/bench_meanings.py
    python scripts/bench_meanings.py --corpora demo --embeddings tokens,minilm --neurons 50

A known rule (the kinds token, class and negation of `scoring.planted`) writes the activations of a neuron on the corpus
(part explain), with noise; a neuron with two rules has the larger activation of both, each rule divided by its largest.
Rules are chosen by what is known of them, never by the result:
- the list has N_WINDOWS windows; the one rule explains at least 80 % of them, the rest is noise;
- two rules explain at least 80 % together and at least 20 % each; they have no token in common, are not of the same
  class of words, and at most 10 % of the windows of the rarer have both.
Beside each neuron stands a random one: as many random windows and positions, with the label of that neuron. A score
that tells these apart would not be about meanings (AUROC .5).

Exits with 1 if the AUROC of `statistic`, which the null is about, is below .95 in a corpus with the embedding `tokens`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures import poc4_extract_records
from neuron_signatures.corpus_analysis.contexts import EMBEDDINGS, Contexts, ContextSettings, Embedding, open_contexts
from neuron_signatures.corpus_analysis.meanings.groups import Measures, group_windows, measure
from neuron_signatures.corpus_analysis.meanings.null import Pool, threshold_of
from neuron_signatures.corpus_analysis.meanings.request import QUANTILE
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.evidence import NEARLY_ZERO
from neuron_signatures.runs.records.names import PARTS, Part
from neuron_signatures.scoring.planted.neurons import Planted, PlantedKind, plant
from neuron_signatures.scoring.planted.passages import Passages
from neuron_signatures.stats.auroc import areas

KINDS: tuple[PlantedKind, ...] = ("token", "class", "negation")
N_WINDOWS = 50
LEAST, LEAST_EACH, MOST_BOTH = 0.8, 0.2, 0.1
LEAST_AUROC = 0.95
CORPORA = {"demo": ("demo", "200000"), "local": ("smollm2", "200000")}
"""Model whose tokens the documents are in, and tokens."""
SCORES = ("statistic", "effective_number")


class Entries(NamedTuple):
    """Windows and positions of peaks, strongest first; `rules` are those of the neuron."""

    window: np.ndarray
    pos: np.ndarray
    n_rules: int
    kinds: tuple[str, ...]
    noise: float
    """Share of the windows that no rule explains."""


class Texts(NamedTuple):
    """The windows of a part as passages."""

    windows: np.ndarray
    passages: Passages
    counts: np.ndarray
    """Whether each position counts, one window after the other."""
    starts: np.ndarray


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    lines, holds = [], True
    for name in args.corpora.split(","):
        with tempfile.TemporaryDirectory() as folder, _corpus(name, Path(folder) / "run") as corpus:
            started = time.monotonic()
            neurons = planted_neurons(corpus, args.neurons, seed=args.seed)
            print(f"{name}: planted in {time.monotonic() - started:.0f} s", file=sys.stderr)
            for embedding in (e for e in EMBEDDINGS if e in args.embeddings.split(",")):
                rows = compare(corpus, neurons, embedding, seed=args.seed)
                lines += [f"| {name} | {embedding} | {' | '.join(row)} |" for row in rows.cells]
                holds &= embedding != "tokens" or rows.planted[0] >= LEAST_AUROC
    print("| corpus | embedding | score | one rule, two rules | AUROC (95 %) | random windows | mean, one | two | "
          "class: AUROC | noise | seconds |\n|" + "---|" * 11)  # fmt: skip
    print("\n".join(lines))
    return int(not holds)


class Compared(NamedTuple):
    cells: list[list[str]]
    planted: list[float]
    """AUROC of each score ..."""
    random: list[float]
    """... and of random windows."""


def compare(corpus: Corpus, neurons: Sequence[Entries], embedding: Embedding, *, seed: int) -> Compared:
    """A row of cells per score."""
    started = time.monotonic()
    contexts = open_contexts(corpus, ContextSettings(embedding))
    threshold = _threshold(contexts, neurons, seed)
    found = [_measures(contexts, n.window, n.pos, threshold) for n in neurons]
    random = [_measures(contexts, *_random(corpus, n, [seed, i]), threshold) for i, n in enumerate(neurons)]
    two = np.array([n.n_rules == 2 for n in neurons])
    of_class = np.array(["class" in n.kinds for n in neurons])
    noise, seconds = np.mean([n.noise for n in neurons]), time.monotonic() - started
    cells, planted, drawn = [], [], []
    for score in SCORES:
        value, by_chance = (np.array([_score(m, score) for m in of]) for of in (found, random))
        auroc = areas(value[:, None], two)
        chance = areas(by_chance[:, None], two)
        classes = areas(value[of_class][:, None], two[of_class])
        planted.append(float(auroc.auroc[0]))
        drawn.append(float(chance.auroc[0]))
        cells.append([
            f"`{score}`", f"{(~two).sum()}, {two.sum()}", *(
                f"{a.auroc[0]:.3f} ({a.low[0]:.3f} to {a.high[0]:.3f})" for a in (auroc, chance)
            ), f"{value[~two].mean():.2f}", f"{value[two].mean():.2f}", f"{classes.auroc[0]:.3f}", f"{noise:.0%}",
            f"{seconds:.0f}",
        ])  # fmt: skip
    return Compared(cells, planted, drawn)


def planted_neurons(corpus: Corpus, n: int, *, seed: int) -> list[Entries]:
    """At most `n` neurons with one rule and as many with two."""
    texts = _texts(corpus, "explain")
    rules = [p for kind in KINDS for p in _plant(texts.passages, kind, 2 * n, seed)]
    with np.errstate(invalid="ignore"):
        flat = [np.concatenate(p.acts) / np.concatenate(p.acts).max() for p in rules]
    at = [np.concatenate([np.array(p.rule.strength_index(t)) >= 0 for t in texts.passages.tokens]) for p in rules]
    in_window = [np.logical_or.reduceat(own, texts.starts) for own in at]
    peaks = [np.sort(np.maximum.reduceat(np.where(own, acts, 0), texts.starts))[::-1][:N_WINDOWS]
             for own, acts in zip(at, flat, strict=True)]  # fmt: skip
    rng = np.random.default_rng([seed, 7])
    one = []
    for i in rng.permutation(len(rules)).tolist():
        found = _strongest(texts, flat[i], [at[i]], (rules[i].rule.kind,))
        if found is not None and len(one) < n:
            one.append(found)
    two: list[Entries] = []
    for pair in rng.permutation(len(rules) ** 2).tolist():
        i, j = divmod(pair, len(rules))
        if len(two) == len(one):
            break
        possible = i < j and _distinct(rules[i], rules[j]) and _balanced(peaks[i], peaks[j])
        if possible and _apart(in_window[i], in_window[j]):
            kinds = rules[i].rule.kind, rules[j].rule.kind
            found = _strongest(texts, np.maximum(flat[i], flat[j]), [at[i], at[j]], kinds)
            if found is not None:
                two.append(found)
    return one[: len(two)] + two


def _plant(passages: Passages, kind: PlantedKind, n: int, seed: int) -> list[Planted]:
    """None of a kind that the corpus does not have. A rule is planted once."""
    try:
        found = plant(passages, kind, n, seed=seed)
    except ZeroDivisionError:
        return []
    return list({p.rule: p for p in found}.values())


def _distinct(a: Planted, b: Planted) -> bool:
    """Without a token in common, and not of the same class of words."""
    label = a.rule.truth.partition(",")[0], b.rule.truth.partition(",")[0]
    return not set(a.rule.tokens) & set(b.rule.tokens) and label[0] != label[1]


def _balanced(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether each rule can have its share of the strongest windows; spares the others the exact count."""
    share = float(np.isin(np.argsort(-np.concatenate([a, b]), kind="stable")[:N_WINDOWS], np.arange(len(a))).mean())
    return LEAST_EACH <= share <= 1 - LEAST_EACH


def _apart(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a & b).sum() <= MOST_BOTH * min(a.sum(), b.sum()))


def _strongest(texts: Texts, acts: np.ndarray, rules: Sequence[np.ndarray], kinds: tuple[str, ...]) -> Entries | None:
    """The strongest windows; None if there are too few, or the rules do not explain them."""
    strength = np.where(texts.counts, acts, -np.inf)
    peak = np.maximum.reduceat(strength, texts.starts)
    order = np.argsort(-peak, kind="stable")[:N_WINDOWS]
    if len(order) < N_WINDOWS or peak[order[-1]] <= NEARLY_ZERO * peak[order[0]]:
        return None
    ends = np.append(texts.starts[1:], len(acts))
    at = np.array([texts.starts[w] + int(np.argmax(strength[texts.starts[w] : ends[w]])) for w in order])
    shares = [float(rule[at].mean()) for rule in rules]
    if min(shares) < (LEAST if len(rules) == 1 else LEAST_EACH) or sum(shares) < LEAST:
        return None
    return Entries(texts.windows[order], at - texts.starts[order], len(rules), kinds, 1 - sum(shares))


def _texts(corpus: Corpus, part: Part) -> Texts:
    own = np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index(part))
    rows = tuple(tuple(corpus.strings(corpus.token_ids(int(w)))) for w in own)
    lengths = np.array([len(row) for row in rows])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    pos = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    counts = pos >= np.repeat(corpus.window_counted_from[own], lengths)
    return Texts(own, Passages(rows, (part,) * len(rows)), counts, starts)


def _threshold(contexts: Contexts, neurons: Sequence[Entries], seed: int) -> float:
    """As of a run whose recorded neurons are these: of random windows of random neurons."""
    rng = np.random.default_rng([seed, 9])
    drawn = [(neurons[i], rng.integers(N_WINDOWS)) for i in rng.integers(len(neurons), size=1000).tolist()]
    window, pos = (np.array([getattr(n, name)[k] for n, k in drawn]) for name in ("window", "pos"))
    return threshold_of(contexts, [Pool(window, contexts.embed(window, pos))], QUANTILE)


def _random(corpus: Corpus, neuron: Entries, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    own = np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index("explain"))
    window = rng.choice(own, len(neuron.window), replace=False)
    return window, rng.integers(corpus.window_counted_from[window], corpus.window_length[window])


def _measures(contexts: Contexts, window: np.ndarray, pos: np.ndarray, threshold: float) -> Measures:
    embedded = contexts.embed(window, pos)
    apart = contexts.distances(embedded, embedded)
    np.fill_diagonal(apart, 0)
    return measure(apart, group_windows(apart, threshold))


def _score(found: Measures, score: str) -> float:
    return found.diversity if score == "statistic" else found.effective_number


def _corpus(name: str, run_dir: Path) -> Corpus:
    model, n_tokens = CORPORA[name]
    flags = ["--out_dir", str(run_dir), "--model_name", model, "--corpus", name, "--max_tokens", n_tokens]
    with contextlib.redirect_stdout(sys.stderr):
        if poc4_extract_records.main([*flags, "--index_only", "--quiet"]):
            raise SystemExit("bench_meanings: the corpus cannot be read")
    return Corpus.open(run_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default="demo,local", help="of demo, local; default both")
    parser.add_argument("--embeddings", default="tokens,minilm", help="of tokens, minilm; default both")
    parser.add_argument("--neurons", type=int, default=100, help="with one rule, and with two, at most; default 100")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
