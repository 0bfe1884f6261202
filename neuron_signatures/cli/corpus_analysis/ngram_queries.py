"""Answers of `ngrams --query ...`: n-grams with their neurons and clusters, and back. No model is needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.corpus_analysis.ngrams import (
    ClusterEffect,
    NeuronEffect,
    Ngram,
    NgramEffect,
    clusters_of,
    find_ngram,
    neurons_of,
    ngrams_of_cluster,
    ngrams_of_neuron,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.stage_results import record_name
from neuron_signatures.runs.tokens import visible

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextAnswer:
    """One text, which can be several n-grams: other tokens with the same text."""

    found: tuple[tuple[Ngram, list[NeuronEffect], list[ClusterEffect]], ...]

    def fields(self) -> dict[str, Any]:
        return {
            "ngrams": [
                {
                    **_ngram(ngram),
                    "neurons": [n._asdict() for n in neurons],
                    "clusters": [c._asdict() for c in clusters],
                }
                for ngram, neurons, clusters in self.found
            ]
        }

    def lines(self) -> list[str]:
        lines = []
        for ngram, neurons, clusters in self.found:
            counts = f"{ngram.count:,} positions in explain, {ngram.held_out_count:,} in select"
            lines.append(f"{shown(ngram)}: {counts}")
            lines += [
                f"{n.rank:>4}  {f'L{n.layer}N{n.neuron}':<10} {_numbers(n.effect, n.held_out_effect, n.mean)}"
                for n in neurons
            ]
            lines += [
                f"      {c.clustering}:{c.cluster} (its n-gram {c.rank}) {_numbers(c.effect, c.held_out_effect)}"
                for c in clusters
            ]
        return lines


@dataclass(frozen=True)
class NgramsAnswer:
    """The n-grams of each pole of a neuron, or of a cluster, by a label."""

    found: dict[str, list[NgramEffect]]

    def fields(self) -> dict[str, Any]:
        return {
            label: [{**e._asdict(), "ngram": _ngram(e.ngram)} for e in effects] for label, effects in self.found.items()
        }

    def lines(self) -> list[str]:
        lines = []
        for label, effects in self.found.items():
            lines.append(label if effects else f"{label}: no n-gram adds to its suffixes")
            lines += [
                f"{e.rank:>4}  {_numbers(e.effect, e.held_out_effect, e.mean)}  {shown(e.ngram)} ({e.ngram.count:,})"
                for e in effects
            ]
        return lines


def ask_text(run_dir: Path, text: str) -> TextAnswer:
    """Raises `UsageError` with near candidates for a text that is not an indexed n-gram."""
    found = find_ngram(run_dir, text)
    if not found.ngrams:
        near = "; there are " + ", ".join(map(shown, found.near)) if found.near else ""
        what = f"{visible(text)!r} is not an indexed n-gram{near}"
        settings = CORPUS_ANALYSIS_FOLDER.read_record(run_dir, "ngrams").settings
        rare = f"Rarer n-grams than {settings.get('min_count')} positions in explain need another index, with a lower "
        step = "Give it exactly, with its leading space" if near else f"{rare}--min_count"
        raise UsageError(what, where="--query", next_step=step)
    answers = tuple((n, neurons_of(run_dir, n.ngram), clusters_of(run_dir, n.ngram)) for n in found.ngrams)
    _warn_if_outdated(run_dir, has_clusters=any(clusters for _, _, clusters in answers))
    return TextAnswer(answers)


def ask_neuron(run_dir: Path, layer: int, neuron: int, poles: Sequence[Pole]) -> NgramsAnswer:
    """Raises `UsageError` for a neuron that is not indexed."""
    found = {f"L{layer}N{neuron}{pole}": ngrams_of_neuron(run_dir, layer, neuron, pole) for pole in poles}
    if not any(found.values()):
        what = f"L{layer}N{neuron} has no n-grams: it is not indexed, or no n-gram is above the margin"
        raise UsageError(what, where=str(run_dir), next_step="Index its layer with `ngrams --layers`")
    _warn_if_outdated(run_dir, has_clusters=False)
    return NgramsAnswer(found)


def ask_cluster(run_dir: Path, clustering: str, cluster: int) -> NgramsAnswer:
    """Raises `UsageError` for a cluster that is not indexed, or if the clusters were made again since."""
    if any(map(_is_of_clusters, _outdated(run_dir))):
        what = "the clusters were made again after the n-grams, whose numbers of clusters are those of the earlier ones"
        raise UsageError(what, where=str(run_dir), next_step="Make `ngrams` again")
    effects = ngrams_of_cluster(run_dir, clustering, cluster)
    if not effects:
        what = f"there are no n-grams of the cluster {clustering}:{cluster}"
        raise UsageError(what, where=str(run_dir), next_step="Make `clusters`, then `ngrams` again")
    _warn_if_outdated(run_dir, has_clusters=False)
    return NgramsAnswer({f"{clustering}:{cluster}": effects})


def _outdated(run_dir: Path) -> list[str]:
    """Paths of the stage records that changed since the n-grams were indexed."""
    return CORPUS_ANALYSIS_FOLDER.outdated(run_dir, CORPUS_ANALYSIS_FOLDER.read_record(run_dir, "ngrams"))


def _is_of_clusters(path: str) -> bool:
    return path.endswith(record_name("clusters"))


def _warn_if_outdated(run_dir: Path, *, has_clusters: bool) -> None:
    """Changed clusters matter only to an answer that has clusters."""
    late = [path for path in _outdated(run_dir) if has_clusters or not _is_of_clusters(path)]
    if late:
        log.warning("warning: the n-grams were made before %s changed; make them again", ", ".join(late))


def shown(ngram: Ngram) -> str:
    """The pieces and ids, such as `·of·Austin (277 9341)`."""
    return f"{'|'.join(map(visible, ngram.tokens))} ({' '.join(map(str, ngram.token_ids))})"


def _ngram(ngram: Ngram) -> dict[str, Any]:
    return {**asdict(ngram), "text": ngram.text}


def _numbers(effect: float | None, held_out: float | None, mean: float | None = None) -> str:
    def number(value: float | None) -> str:
        return "    —" if value is None else f"{value:+5.2f}"

    return f"effect {number(effect)}  select {number(held_out)}" + ("" if mean is None else f"  mean {mean:+.3f}")
