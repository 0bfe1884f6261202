"""What sparse probes are fitted on: texts or tokens of two halves, labels with their controls, and chosen units.

A bank is in memory at a time. The units that enter a probe are screened on `find` with the labels that the probe
learns; a control has its own screening, since otherwise it would start from units that were chosen for the true label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Matrix, Skills
from neuron_signatures.skills.compare.draws import generator
from neuron_signatures.skills.compare.prepared import columns, weighted_sums
from neuron_signatures.skills.compare.request import ProbeSettings
from neuron_signatures.skills.compare.specific import Halves


@dataclass(frozen=True)
class Task:
    """Observations (texts or tokens) of both halves, and what is to be told from their activations."""

    level: str
    load: Callable[[Bank], Matrix]
    """Activations of a bank, rows as in the run."""
    find: Int64[np.ndarray, " find"]
    held_out: Int64[np.ndarray, " held_out"]
    labels: Mapping[str, Bool[np.ndarray, "labelling observation"]]
    """Per class the true label and then those of the control task; the observations of `find`, then of `held_out`."""
    clusters: Int64[np.ndarray, " held_out"]
    """The text of each observation of `held_out`: texts are independent, tokens of a text are not."""


class Candidates(NamedTuple):
    """The units with the largest scores of a bank, per labelling."""

    units: Int64[np.ndarray, "labelling unit"]
    scores: Float64[np.ndarray, "labelling unit"]


class Chosen(NamedTuple):
    """Units that enter a probe, by decreasing score."""

    values: Float64[np.ndarray, "observation unit"]
    """Observations of `find`, then of `held_out`."""
    labels: list[str]


def text_task(skills: Skills, halves: Halves, settings: ProbeSettings, seed: int) -> Task:
    """Texts with their mean activations. The control task: labels permuted among the texts of each half."""
    n = len(halves.find)
    labels = {}
    for name in halves.in_find:
        rng, rows = (
            generator(seed, "probe texts", name),
            [np.concatenate([halves.in_find[name], halves.in_held_out[name]])],
        )
        for _ in range(settings.n_controls):
            rows.append(np.concatenate([rng.permutation(rows[0][:n]), rng.permutation(rows[0][n:])]))
        labels[name] = np.stack(rows)
    return Task("text", lambda bank: skills.stats(bank).mean, halves.find, halves.held_out, labels, halves.held_out)


def token_task(skills: Skills, halves: Halves, settings: ProbeSettings, seed: int) -> Task | None:
    """Tokens of the sample; the label is the class of their text. The control task of Hewitt and Liang 2019: every
    word type (token id) has a random label, with the share of the class. None without tokens of each half."""
    sample = skills.sample
    rows = []
    for half, texts in (("find", halves.find), ("held_out", halves.held_out)):
        there = np.flatnonzero(np.isin(sample.text, texts))
        n = min(settings.max_tokens, len(there))
        rows.append(np.sort(generator(seed, "probe tokens", half).permutation(there)[:n]))
    both = np.concatenate(rows)
    if min(len(r) for r in rows) < 2:
        return None
    of = skills.texts["class"].to_numpy()[sample.text[both]]
    types, which = np.unique(sample.token_id[both], return_inverse=True)
    labels = {}
    for name in halves.in_find:
        true, rng = of == name, generator(seed, "probe token types", name)
        controls = [(rng.random(len(types)) < true.mean())[which] for _ in range(settings.n_controls)]
        labels[name] = np.stack([true, *controls])
    return Task("token", skills.sampled_acts, rows[0], rows[1], labels, np.asarray(sample.text[rows[1]], np.int64))


def candidates(matrix: Matrix, task: Task, labels: Bool[np.ndarray, "labelling row"], n: int) -> Candidates:
    """The `n` units with the largest difference of class means on `find`, in standard deviations."""
    find = matrix[task.find]
    n_in = labels.sum(axis=1, keepdims=True).astype(np.float64)
    total = np.asarray(find.sum(axis=0, dtype=np.float64)).ravel()
    squares = np.asarray((find * find).sum(axis=0, dtype=np.float64)).ravel()
    n_rows, mean = len(task.find), total / len(task.find)
    sd = np.sqrt(np.maximum(squares / n_rows - mean**2, 0))
    inside = weighted_sums(labels.astype(np.float32), find)
    outside = (total - inside) / np.maximum(n_rows - n_in, 1)
    gap = np.abs(inside / np.maximum(n_in, 1) - outside)
    scores = np.where(sd > 1e-6 * np.abs(mean) + 1e-12, gap / np.where(sd > 0, sd, 1), 0)
    units = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    return Candidates(units, np.take_along_axis(scores, units, axis=1))


def gather(
    task: Task, banks: Sequence[Bank], found: Mapping[Bank, Mapping[str, Candidates]], n: int
) -> dict[tuple[str, int], Chosen]:
    """The values of the `n` best units of these banks, for each class and labelling."""
    picked = {
        (name, i): _best([(bank, found[bank][name]) for bank in banks], i, n)
        for name, labels in task.labels.items() for i in range(len(labels))
    }  # fmt: skip
    values: dict[tuple[str, int], list[np.ndarray]] = {key: [] for key in picked}
    names: dict[tuple[str, int], list[str]] = {key: [] for key in picked}
    orders: dict[tuple[str, int], list[int]] = {key: [] for key in picked}
    for bank in banks:
        matrix, both = task.load(bank), np.concatenate([task.find, task.held_out])
        for key, chosen in picked.items():
            own = [(place, unit) for place, (at, unit) in enumerate(chosen) if at == bank]
            if own:
                units = np.array([unit for _, unit in own])
                values[key].append(columns(matrix, units)[both].astype(np.float64))
                names[key] += [bank.label(unit) for _, unit in own]
                orders[key] += [place for place, _ in own]
    return {
        key: Chosen(
            np.concatenate(values[key], axis=1)[:, np.argsort(orders[key])],
            [names[key][i] for i in np.argsort(orders[key])],
        )
        for key in picked if values[key]
    }  # fmt: skip


def _best(found: Sequence[tuple[Bank, Candidates]], labelling: int, n: int) -> list[tuple[Bank, int]]:
    units = [
        (-float(score), order, int(unit))
        for order, (_, c) in enumerate(found)
        for unit, score in zip(c.units[labelling], c.scores[labelling], strict=True) if score > 0
    ]  # fmt: skip
    return [(found[order][0], unit) for _, order, unit in sorted(units)[:n]]
