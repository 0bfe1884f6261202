"""Names of groups: from what the members' explanations, output directions, or signatures have in common.

In this order. What is in common is in at least half of the members, and rarer among the other neurons of the circuit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from neuron_signatures.circuits.groups.names import Known, pole_of
from neuron_signatures.circuits.groups.profiles import change_sign
from neuron_signatures.circuits.groups.promoted import SignedNeuron, WriteSide, shown_list
from neuron_signatures.circuits.groups.suggest import neurons_of
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.groups import Evidence
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import brief

N_WORDS: Final = 3
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_LEAST_Z: Final = 1.0
"""Peak on a prompt, in standard deviations of each neuron: mean of the members less that of the other neurons, from
which the prompt names a group."""


class GroupNamer:
    """Names groups of one circuit. `peaks` are those of its neurons over `prompt_ids`, or None."""

    def __init__(
        self, run: Run, model: LoadedModel, graph: Graph, *, peaks: Float64[np.ndarray, "neuron prompt"] | None,
        prompt_ids: Sequence[str],
    ) -> None:  # fmt: skip
        neurons = neurons_of(graph)
        known = Known(run)
        self._words = {n.id: _words(_explanation(known, n)) for n in neurons}
        self._classes = {n.id: {s} if (s := known.signature(*_pole(n))) else set() for n in neurons}
        self._peaks = None if peaks is None else _signed_z(neurons, peaks)
        self._row = {n.id: i for i, n in enumerate(neurons)}
        self._prompt_ids = prompt_ids
        self._writes = WriteSide(run, model)

    def __call__(self, nodes: Sequence[Node]) -> tuple[str, Evidence | None]:
        """The name of a group, raw, and what it was made of; empty if its members have nothing in common."""
        if words := _in_common(nodes, self._words):
            return ", ".join(words), "explanations"
        changes = [(node.activation or 0.0) - (node.reference or 0.0) for node in nodes]
        promoted = self._writes.together([signed(node) for node in nodes], changes, top=N_WORDS)
        if promoted.is_clear:
            return f"promotes {shown_list(promoted.tokens)}", "write_scores"
        if classes := _in_common(nodes, self._classes):
            return ", ".join(classes), "signatures"
        if prompts := self._prompts(nodes):
            return f"peaks in {', '.join(prompts)}", "signatures"
        return "", None

    def _prompts(self, nodes: Sequence[Node]) -> list[str]:
        if self._peaks is None:
            return []
        rows = [self._row[node.id] for node in nodes]
        others = np.delete(self._peaks, rows, axis=0)
        mean = self._peaks[rows].mean(axis=0) - (others.mean(axis=0) if len(others) else 0.0)
        best = np.argsort(-mean, kind="stable")[:N_WORDS]
        return [brief(self._prompt_ids[i]) for i in best if mean[i] >= _LEAST_Z]


def signed(node: Node) -> SignedNeuron:
    """A neuron with the sign of its change from the reference."""
    assert node.neuron is not None
    return node.layer, node.neuron, change_sign(node)


def _in_common(nodes: Sequence[Node], found: dict[str, set[str]]) -> list[str]:
    """Words of at least two and at least half of the members, that half as many of the others have at most."""
    members = {node.id for node in nodes}
    inside = _counts(words for id_, words in found.items() if id_ in members)
    outside = _counts(words for id_, words in found.items() if id_ not in members)
    n_others = max(len(found) - len(members), 1)
    shares = {w: (n / len(members), outside[w] / n_others) for w, n in inside.items() if n >= max(2, len(members) / 2)}
    kept = [word for word, (own, other) in shares.items() if other <= own / 2]
    return sorted(kept, key=lambda w: (shares[w][1] - shares[w][0], w))[:N_WORDS]


def _counts(sets: Iterable[set[str]]) -> Counter[str]:
    return Counter(word for words in sets for word in words)


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}


def _pole(node: Node) -> tuple[int, int, Pole]:
    assert node.neuron is not None
    return node.layer, node.neuron, pole_of(1 if (node.activation or 0.0) >= 0 else -1)


def _explanation(known: Known, node: Node) -> str:
    return known.explanation(*_pole(node))


def _signed_z(neurons: Sequence[Node], peaks: Float64[np.ndarray, "neuron prompt"]) -> np.ndarray:
    signs = np.array([change_sign(node) for node in neurons])[:, None]
    spread = peaks.std(axis=1, keepdims=True)
    z: np.ndarray = signs * (peaks - peaks.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    return z
