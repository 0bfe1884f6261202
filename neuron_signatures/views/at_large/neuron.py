"""One neuron at large: weights, neighbours, similar neurons, clusters, meanings, n-grams, as far as they exist."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from neuron_signatures.runs.corpus_analysis import folder as corpus
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.stage_results import StageFolder
from neuron_signatures.runs.weights.folder import NEIGHBOURS, STATISTICS, WEIGHTS_FOLDER
from neuron_signatures.views.coords import NeuronAt

T = TypeVar("T")
N_NGRAMS = 8
"""N-grams of a pole that are read."""


class WeightStatistics(NamedTuple):
    """A row of `weights/statistics.parquet`; undefined numbers are None."""

    cls: str
    logit_mean: float | None
    logit_variance: float | None
    logit_skewness: float | None
    logit_kurtosis: float | None
    norm_out: float | None
    norm_in: float | None
    norm_gate: float | None
    cos_in_out: float | None
    cos_gate_out: float | None
    cos_in_gate: float | None
    null_share: float | None
    frequency_correlation: float | None


class Neighbour(NamedTuple):
    """A neuron with a similar weight vector."""

    weight: str
    """`output`, `input` or `gate`."""
    rank: int
    at: NeuronAt
    cosine: float | None
    null_high: float | None = None
    """99th percentile of the largest |cosine| of neurons whose coordinates were permuted."""


class Similar(NamedTuple):
    """A neuron that is active alike on the corpus."""

    kind: str
    """`activation`: a correlation of whole neurons, with its sign. `windows`: a Jaccard index of poles."""
    pole: str
    rank: int
    at: NeuronAt
    other_pole: str
    value: float | None
    null_high: float | None
    """95th percentile of the best value by chance: of this neuron, else of all neurons that the null was drawn for."""


class Membership(NamedTuple):
    """The cluster of the neuron in one clustering; -1 is noise."""

    clustering: str
    cluster: int
    name: str
    n_neurons: int | None
    distance: float | None


class MeaningGroup(NamedTuple):
    """A group of the strongest windows of a pole."""

    group: int
    n_windows: int
    share: float | None
    tokens: tuple[str, ...]
    """Raw; those that set the group apart."""
    cohesion: float | None


class Meaning(NamedTuple):
    """The groups of a pole, with the null of windows of random neurons."""

    pole: str
    n_windows: int | None
    n_groups: int | None
    effective_number: float | None
    null_effective_number: float | None
    within: float | None
    between: float | None
    statistic: float | None
    null_mean: float | None
    null_sd: float | None
    p: float | None
    n_null: int | None
    q: float | None
    held_out_statistic: float | None
    groups: tuple[MeaningGroup, ...] = ()


class NgramEffect(NamedTuple):
    """An n-gram at whose last token the neuron is far from its mean."""

    pole: str
    rank: int
    text: str
    """Raw."""
    n: int | None
    """Positions in the corpus."""
    mean: float | None
    effect: float | None
    held_out_effect: float | None


class AtLarge(NamedTuple):
    """What is known of one neuron; empty where nothing is."""

    at: NeuronAt
    done: tuple[str, ...] = ()
    """Finished modes: `statistics` and those of `corpus_analysis/`."""
    weights: WeightStatistics | None = None
    neighbours: tuple[Neighbour, ...] = ()
    similar: tuple[Similar, ...] = ()
    clusters: tuple[Membership, ...] = ()
    meanings: tuple[Meaning, ...] = ()
    ngrams: tuple[NgramEffect, ...] = ()
    problems: tuple[str, ...] = ()
    """One line per result that cannot be read."""
    outdated: tuple[str, ...] = ()
    """Modes that were computed from other records than those that are there now."""

    @property
    def is_empty(self) -> bool:
        return not (self.weights or self.neighbours or self.similar or self.clusters or self.meanings or self.ngrams)


def read_at_large(run_dir: Path, at: NeuronAt) -> AtLarge:
    """What the stages found of a neuron. Results that cannot be read are lines of `problems`, never an error."""
    found = _Reading(run_dir, at)
    done = (*WEIGHTS_FOLDER.finished(run_dir), *CORPUS_ANALYSIS_FOLDER.finished(run_dir))
    if not done:
        return AtLarge(at)
    return AtLarge(
        at, done,
        weights=next(iter(found.of(WEIGHTS_FOLDER, STATISTICS, _statistics)), None),
        neighbours=_neighbours(found),
        similar=_similar(found),
        clusters=_memberships(found),
        meanings=_meanings(found),
        ngrams=_ngrams(found),
        problems=tuple(dict.fromkeys(found.problems)),
        outdated=outdated_modes(run_dir),
    )  # fmt: skip


def outdated_modes(run_dir: Path) -> tuple[str, ...]:
    """Modes of `weights/` and `corpus_analysis/` whose records or other sources changed afterwards."""
    late = []
    for folder in (WEIGHTS_FOLDER, CORPUS_ANALYSIS_FOLDER):
        for mode in folder.finished(run_dir):
            try:
                if folder.outdated(run_dir, folder.read_record(run_dir, mode)):
                    late.append(mode)
            except ProjectError:
                continue  # reading its tables reports it
    return tuple(late)


def tokens_of(text: str | None) -> tuple[str, ...]:
    """The raw tokens of a JSON list; of anything else, the text itself."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return (text or "",)
    return tuple(str(t) for t in found) if isinstance(found, list) else (text or "",)


class _Reading:
    """Reads rows of one neuron and collects errors."""

    def __init__(self, run_dir: Path, at: NeuronAt) -> None:
        self.run_dir, self.at = run_dir, at
        self.problems: list[str] = []

    def rows(self, folder: StageFolder, stem: str) -> list[dict[str, Any]]:
        if folder.tables[stem].mode not in folder.finished(self.run_dir):
            return []
        at = self.at
        return self.attempt(lambda: folder.rows_where(self.run_dir, stem, layer=[at.layer], neuron=[at.neuron]))

    def of(self, folder: StageFolder, stem: str, make: Callable[[Mapping[str, Any]], T]) -> tuple[T, ...]:
        return tuple(make(row) for row in self.rows(folder, stem))

    def attempt(self, read: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        try:
            return read()
        except UsageError:
            return []  # made anew at this moment
        except ProjectError as e:
            self.problems.append(e.line())
        except OSError as e:
            self.problems.append(f"{e.filename or 'a file'}: {e.strerror or e}")
        return []

    def where(self, stem: str, columns: Sequence[str], **wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of a table of `corpus_analysis/` that has no rows of neurons, such as that of clusters."""
        return self.attempt(lambda: CORPUS_ANALYSIS_FOLDER.rows_where(self.run_dir, stem, columns=columns, **wanted))


def _statistics(row: Mapping[str, Any]) -> WeightStatistics:
    return WeightStatistics(row["class"] or "none", *(row[name] for name in WeightStatistics._fields[1:]))


def _neighbours(found: _Reading) -> tuple[Neighbour, ...]:
    rows = found.rows(WEIGHTS_FOLDER, NEIGHBOURS)
    facts = _facts(found.run_dir, WEIGHTS_FOLDER, STATISTICS).get("neighbours") if rows else {}
    nulls = _null_high(facts if isinstance(facts, dict) else {})
    return tuple(
        Neighbour(r["weight"] or "", r["rank"], NeuronAt(r["other_layer"], r["other_neuron"]), r["cosine"],
                  nulls.get(r["weight"]))
        for r in rows
    )  # fmt: skip


def _similar(found: _Reading) -> tuple[Similar, ...]:
    rows = found.rows(CORPUS_ANALYSIS_FOLDER, corpus.SIMILAR)
    nulls = _null_high(_facts(found.run_dir, CORPUS_ANALYSIS_FOLDER, corpus.SIMILAR)) if rows else {}
    return tuple(
        Similar(r["kind"] or "", r["pole"] or "", r["rank"], NeuronAt(r["other_layer"], r["other_neuron"]),
                r["other_pole"] or "", r["value"],
                nulls.get(r["kind"]) if r["null_high"] is None else r["null_high"])
        for r in rows
    )  # fmt: skip


def _facts(run_dir: Path, folder: StageFolder, mode: str) -> Mapping[str, Any]:
    """Those of the record; empty if it cannot be read, which reading the tables reports."""
    try:
        return folder.read_record(run_dir, mode).facts
    except (ProjectError, OSError):
        return {}


def _null_high(facts: Mapping[str, Any]) -> dict[str, float]:
    """By kind, the highest value by chance over all neurons that the null was drawn for."""
    found = {kind: own.get("null_high") for kind, own in facts.items() if isinstance(own, dict)}
    return {kind: float(high) for kind, high in found.items() if isinstance(high, int | float)}


def _memberships(found: _Reading) -> tuple[Membership, ...]:
    rows = found.rows(CORPUS_ANALYSIS_FOLDER, corpus.CLUSTER_NEURONS)
    if not rows:
        return ()
    some = found.where(corpus.CLUSTERS, ("clustering", "cluster", "name", "n_neurons"),
                       cluster=sorted({r["cluster"] for r in rows}))  # fmt: skip
    named = {(r["clustering"], r["cluster"]): r for r in some}
    memberships = []
    for row in rows:
        own = named.get((row["clustering"], row["cluster"]), {})
        memberships.append(Membership(row["clustering"] or "", row["cluster"], own.get("name") or "",
                                      own.get("n_neurons"), row["distance"]))  # fmt: skip
    return tuple(memberships)


def _meanings(found: _Reading) -> tuple[Meaning, ...]:
    rows = found.rows(CORPUS_ANALYSIS_FOLDER, corpus.MEANINGS)
    groups = found.rows(CORPUS_ANALYSIS_FOLDER, corpus.MEANING_GROUPS) if rows else []
    by_pole: dict[str, list[MeaningGroup]] = {}
    for row in groups:
        group = MeaningGroup(row["group"], row["n_windows"], row["share"], tokens_of(row["tokens"]), row["cohesion"])
        by_pole.setdefault(row["pole"], []).append(group)
    meanings = [
        Meaning(
            r["pole"] or "", r["n_windows"], r["n_groups"], r["effective_number"], r.get("null_effective_number"),
            r["within"], r["between"], r["statistic"], r["null_mean"], r["null_sd"], r["p"], r["n_null"], r["q"],
            r.get("held_out_statistic"),
            tuple(sorted(by_pole.get(r["pole"], ()))),
        )
        for r in rows
    ]  # fmt: skip
    return tuple(sorted(meanings, key=lambda m: m.pole))


def _ngrams(found: _Reading) -> tuple[NgramEffect, ...]:
    rows = [r for r in found.rows(CORPUS_ANALYSIS_FOLDER, corpus.NEURON_NGRAMS) if r["rank"] <= N_NGRAMS]
    if not rows:
        return ()
    wanted = sorted({r["ngram"] for r in rows})
    texts = {r["ngram"]: r for r in found.where(corpus.NGRAMS, ("text", "count"), ngram=wanted)}
    effects = []
    for r in rows:
        own = texts.get(r["ngram"], {})
        effects.append(NgramEffect(r["pole"] or "", r["rank"], own.get("text") or "", own.get("count"), r["mean"],
                                   r["effect"], r["held_out_effect"]))  # fmt: skip
    return tuple(sorted(effects, key=lambda e: (e.pole, e.rank)))
