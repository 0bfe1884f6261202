"""Queries of the n-grams of a corpus, without a model: an n-gram's neurons and clusters, and back.

    found = find_ngram(run_dir, " Austin")
    neurons_of(run_dir, found.ngrams[0].ngram)

All raise `UsageError` if `ngrams` has not been made, `BadRunError` if its files are damaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NGRAMS,
    CORPUS_ANALYSIS_FOLDER,
    NEURON_NGRAMS,
    NGRAM_NEURONS,
    NGRAMS,
)
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.names import Pole

if TYPE_CHECKING:
    import pandas as pd

MOST_NEAR: Final = 8
"""N-grams that are proposed for a text that is none."""
_IDS: Final = ("id_1", "id_2", "id_3")


@dataclass(frozen=True)
class Ngram:
    """One to three tokens of the corpus. Tokens are raw; `text` joins them. Counts are of positions of its last token
    in the parts explain and select."""

    ngram: int
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    count: int
    held_out_count: int

    @property
    def n(self) -> int:
        return len(self.tokens)

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True)
class Found:
    """The n-grams with exactly this text, the most frequent first: more than one if the corpus has it in different
    tokens. Without any, `near` are others that differ in spaces or case, or contain it or end with it."""

    text: str
    ngrams: tuple[Ngram, ...]
    near: tuple[Ngram, ...]


class NeuronEffect(NamedTuple):
    """What a neuron does at an n-gram; None where undefined. `effect`: (mean at its last token - the neuron's mean) /
    its standard deviation, on the part explain; `held_out_effect` on select."""

    rank: int
    layer: int
    neuron: int
    pole: Pole
    mean: float | None
    effect: float | None
    held_out_effect: float | None


class NgramEffect(NamedTuple):
    """An n-gram of a neuron or cluster, as in `NeuronEffect`; a cluster has no `mean`."""

    rank: int
    ngram: Ngram
    mean: float | None
    effect: float | None
    held_out_effect: float | None


class ClusterEffect(NamedTuple):
    """What a cluster does at an n-gram: the mean effect of its members. `rank`: of the n-gram in the cluster."""

    clustering: str
    cluster: int
    rank: int
    effect: float | None
    held_out_effect: float | None


def find_ngram(run_dir: Path, text: str) -> Found:
    """The indexed n-grams that are this text exactly (spaces count)."""
    frame = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, NGRAMS)
    own = frame[frame["text"] == text]
    if len(own):
        return Found(text, tuple(_ngrams(_by_count(own))), ())
    low, texts = text.strip().casefold(), frame["text"]
    folded = texts.str.strip().str.casefold()
    same, ends = folded == low, folded.str.endswith(low) if low else folded == low
    holds = folded.str.contains(low, regex=False) if low else same
    order = [frame[same], frame[ends & ~same], frame[holds & ~ends]]
    near = [ngram for part in order for ngram in _ngrams(_by_count(part).head(MOST_NEAR))]
    return Found(text, (), tuple(near[:MOST_NEAR]))


def neurons_of(run_dir: Path, ngram: int) -> list[NeuronEffect]:
    """The neurons with the largest |effect| at an n-gram (`Ngram.ngram`), by rank."""
    rows = _rows(run_dir, NGRAM_NEURONS, {"ngram": ngram})
    return [
        NeuronEffect(r["rank"], r["layer"], r["neuron"], r["pole"], r["mean"], r["effect"], r["held_out_effect"])
        for r in rows
    ]


def ngrams_of_neuron(run_dir: Path, layer: int, neuron: int, pole: Pole) -> list[NgramEffect]:
    """The n-grams at which a neuron is most above (pole +) or below (-) its mean, by rank."""
    rows = _rows(run_dir, NEURON_NGRAMS, {"layer": layer, "neuron": neuron, "pole": pole})
    return _effects(run_dir, rows)


def clusters_of(run_dir: Path, ngram: int) -> list[ClusterEffect]:
    """The clusters that have this n-gram among theirs, the largest |effect| first."""
    rows = _rows(run_dir, CLUSTER_NGRAMS, {"ngram": ngram})
    found = [ClusterEffect(r["clustering"], r["cluster"], r["rank"], r["effect"], r["held_out_effect"]) for r in rows]
    return sorted(found, key=lambda c: (-abs(c.effect or 0.0), c.clustering, c.cluster))


def ngrams_of_cluster(run_dir: Path, clustering: str, cluster: int) -> list[NgramEffect]:
    """The n-grams at which the members of a cluster are active together, by rank."""
    return _effects(run_dir, _rows(run_dir, CLUSTER_NGRAMS, {"clustering": clustering, "cluster": cluster}))


def _effects(run_dir: Path, rows: list[dict[str, Any]]) -> list[NgramEffect]:
    """Rows with their n-grams."""
    frame = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, NGRAMS)
    wanted = {int(r["ngram"]) for r in rows}
    known = {ngram.ngram: ngram for ngram in _ngrams(frame[frame["ngram"].isin(wanted)])}
    if missing := wanted - set(known):
        what = f"lacks n-gram {min(missing)}, which another table names"
        raise BadRunError(what, where=str(run_dir / CORPUS_ANALYSIS_FOLDER.folder), next_step="Make it again")
    return [
        NgramEffect(r["rank"], known[int(r["ngram"])], r.get("mean"), r["effect"], r["held_out_effect"]) for r in rows
    ]


def _rows(run_dir: Path, stem: str, wanted: dict[str, int | str]) -> list[dict[str, Any]]:
    """The rows with these values, by rank; undefined numbers are None."""
    found: list[dict[str, Any]] = []
    for part in CORPUS_ANALYSIS_FOLDER.iter_table(run_dir, stem):
        chosen = part
        for name, value in wanted.items():
            chosen = chosen[chosen[name] == value]
        found += [{k: None if v != v else v for k, v in row.items()} for row in chosen.to_dict("records")]
    return sorted(found, key=lambda row: row["rank"])


def _by_count(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["count", "ngram"], ascending=[False, True], kind="stable")


def _ngrams(frame: pd.DataFrame) -> list[Ngram]:
    found = []
    for row in frame.to_dict("records"):
        tokens = tuple(json.loads(row["tokens"]))
        ids = tuple(int(row[name]) for name in _IDS if row[name] >= 0)
        found.append(Ngram(int(row["ngram"]), tokens, ids, int(row["count"]), int(row["held_out_count"])))
    return found
