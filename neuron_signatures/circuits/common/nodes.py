"""The nodes of a common circuit: how often they are there, how strong, and whether they depend on the entity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float64

from neuron_signatures.circuits.common.changes import changes_of
from neuron_signatures.circuits.common.members import Key, Member, Template
from neuron_signatures.circuits.groups.variance import Between, ChangeShare, between_labels, change_share
from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.run import Run
from neuron_signatures.stats.chance import benjamini_hochberg

N_DRAWS: Final = 1000
VARIES_FROM: Final = 0.5
MAX_Q: Final = 0.05


@dataclass(frozen=True)
class CommonNode:
    """A node over the circuits that are not held out. Numbers that are undefined are None.

    Scores are over the circuits that have the node, activations over all prompts where they are known.
    """

    key: Key
    n_circuits: int
    share: float
    mean_score: float | None
    sd_score: float | None
    mean_activation: float | None
    sd_activation: float | None
    varies: bool
    """Whether more than half of its mean square change is not the same in every prompt: `entity_low` is above .5, or,
    if entities have several prompts, `entity_share` is and the activation differs between entities with q ≤ .05."""
    label: str
    entity_share: float | None = None
    """See `groups.variance.ChangeShare`; with its 95 % interval."""
    entity_low: float | None = None
    entity_high: float | None = None
    between: float | None = None
    """η² between entities; None unless an entity has several prompts. Its null: entities permuted over the prompts."""
    null_mean: float | None = None
    null_sd: float | None = None
    p: float | None = None
    n_null: int | None = None


def common_nodes(
    template: Template, keys: Sequence[Key], counts: Mapping[Key, int], run: Run | None, seed: int
) -> list[CommonNode]:
    """One node for each key, in the order of `keys`; `counts` are over the circuits that are not held out."""
    training = template.training
    neurons = [key for key in keys if key.kind == "neuron"]
    found = _Entities.of(template, neurons, run, seed)
    row_of = {key: i for i, key in enumerate(neurons)}
    return [_node(training, key, counts[key], found, row_of.get(key)) for key in keys]


@dataclass(frozen=True)
class _Entities:
    """What depends on the entity, of each neuron."""

    acts: Float64[np.ndarray, "neuron prompt"]
    change: ChangeShare
    between: Between | None
    varies: Bool[np.ndarray, " neuron"]

    @classmethod
    def of(cls, template: Template, neurons: Sequence[Key], run: Run | None, seed: int) -> _Entities:
        """Prompts on which a neuron's activation is not known count as its mean."""
        acts, change = changes_of(run, template, neurons)
        entities = [member.entity for member in template.training]
        known = np.where(np.isnan(change), np.nanmean(change, axis=1, keepdims=True) if len(change) else 0.0, change)
        share = change_share(known, entities, seed=seed, n_draws=N_DRAWS)
        between = between_labels(known, entities, seed=seed, n_draws=N_DRAWS)
        if between is None:
            varies = np.nan_to_num(share.low) > VARIES_FROM
        else:
            q = np.nan_to_num(benjamini_hochberg(between.p), nan=1.0)
            varies = (np.nan_to_num(share.share) > VARIES_FROM) & (q <= MAX_Q)
        return cls(acts, share, between, varies)

    def fields(self, row: int) -> dict[str, Any]:
        found = {"entity_share": self.change.share, "entity_low": self.change.low, "entity_high": self.change.high}
        fields: dict[str, Any] = {name: _number(values[row]) for name, values in found.items()}
        if self.between is not None:
            own = self.between
            fields |= {
                "between": _number(own.share[row]), "null_mean": _number(own.null_mean[row]),
                "null_sd": _number(own.null_sd[row]), "p": _number(own.p[row]), "n_null": own.n_null,
            }  # fmt: skip
        return fields


def _node(training: Sequence[Member], key: Key, n: int, found: _Entities, row: int | None) -> CommonNode:
    there = [member.nodes[key] for member in training if key in member.nodes]
    acts = [node.activation for node in there] if row is None else [_number(a) for a in found.acts[row]]
    return CommonNode(
        key, n, n / len(training), *mean_sd([node.score for node in there]), *mean_sd(acts),
        varies=_varies(there, training) if row is None else bool(found.varies[row]), label=_label(there),
        **({} if row is None else found.fields(row)),
    )  # fmt: skip


def _varies(there: Sequence[Node], training: Sequence[Member]) -> bool:
    """Of an embedding or the target: whether its token is not the same in all circuits."""
    return len(there) < len(training) or len({node.token_id for node in there}) > 1


def _label(there: Sequence[Node]) -> str:
    """The most frequent label; of embeddings and targets the token, if it is the same everywhere."""
    if there[0].kind != "neuron":
        return there[0].token if len({node.token_id for node in there}) == 1 else ""
    return Counter(node.label for node in there).most_common(1)[0][0]


def mean_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Of the defined values; None without any, and without a second one."""
    defined = [value for value in values if value is not None]
    spread = float(np.std(defined, ddof=1)) if len(defined) > 1 else None
    return (float(np.mean(defined)), spread) if defined else (None, None)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
