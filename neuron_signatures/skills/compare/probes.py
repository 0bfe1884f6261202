"""The table `probes`: how many units tell a class, beside a control task, a ranking without a probe, and one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.compare.probe_data import (
    Candidates,
    Chosen,
    Task,
    candidates,
    gather,
    text_task,
    token_task,
)
from neuron_signatures.skills.compare.probe_fit import (
    accuracy_interval,
    balanced_accuracy,
    best_unit,
    by_means,
    path,
)
from neuron_signatures.skills.compare.request import ProbeSettings
from neuron_signatures.skills.compare.specific import Halves

Scopes = dict[tuple[str, int | None], list[Bank]]


def table(
    skills: Skills, banks: Sequence[Bank], halves: Halves, settings: ProbeSettings, *, seed: int, progress: ProgressOf
) -> pd.DataFrame:
    """Of texts per source and layer and per source; of tokens per source. No rows if probes are not asked for."""
    rows: list[dict[str, Any]] = []
    if settings.enabled:
        by_text, by_token = text_task(skills, halves, settings, seed), token_task(skills, halves, settings, seed)
        scopes = scopes_of(banks)
        whole: Scopes = {key: members for key, members in scopes.items() if key[1] is None}
        tasks = [(by_text, scopes), *([(by_token, whole)] if by_token else [])]
        with progress("probes", n_fits(scopes, len(halves.in_find), settings, tokens=by_token is not None)) as bar:
            for task, of_task in tasks:
                rows += task_rows(task, of_task, settings, seed, bar)
    frame = pd.DataFrame(rows, columns=list(columns.PROBES))
    for name in ("layer", "n_units", "n_controls"):
        frame[name] = frame[name].astype("Int32")
    return frame


def scopes_of(banks: Sequence[Bank]) -> Scopes:
    """The banks of each source in each layer, and of each source in all layers (None)."""
    found: Scopes = {}
    for bank in banks:
        found.setdefault((bank.source, bank.layer), []).append(bank)
        found.setdefault((bank.source, None), []).append(bank)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1] is not None, item[0][1] or 0)))


def n_fits(scopes: Scopes, n_classes: int, settings: ProbeSettings, *, tokens: bool) -> int:
    """Paths of probes that are fitted."""
    n_scopes = len(scopes) + (sum(layer is None for _, layer in scopes) if tokens else 0)
    return n_scopes * n_classes * (1 + settings.n_controls)


def task_rows(task: Task, scopes: Scopes, settings: ProbeSettings, seed: int, bar: Bar) -> list[dict[str, Any]]:
    """The rows of one task in each scope."""
    banks = list(dict.fromkeys(bank for members in scopes.values() for bank in members))
    n_find, found = len(task.find), {}
    for bank in banks:
        matrix = task.load(bank)
        found[bank] = {
            name: candidates(matrix, task, labels[:, :n_find], settings.max_units)
            for name, labels in task.labels.items()
        }
    rows = []
    for (source, layer), members in scopes.items():
        for row in _scope_rows(task, members, found, settings, seed, bar):
            rows.append({"source": source, "site": "", "layer": layer, "level": task.level, **row})
    return rows


def _scope_rows(
    task: Task, banks: Sequence[Bank], found: Mapping[Bank, Mapping[str, Candidates]], settings: ProbeSettings,
    seed: int, bar: Bar,
) -> list[dict[str, Any]]:  # fmt: skip
    chosen = gather(task, banks, found, settings.max_units)
    rows = []
    for name, labels in task.labels.items():
        controls = []
        for i in range(1, len(labels)):
            if (name, i) in chosen:
                controls.append(_accuracies(task, chosen[name, i], labels[i], settings))
            bar.advance(1)
        if (name, 0) in chosen:
            rows += _class_rows(task, name, chosen[name, 0], labels[0], np.array(controls), settings, seed)
        bar.advance(1)
    return rows


def _accuracies(task: Task, chosen: Chosen, labels: np.ndarray, settings: ProbeSettings) -> list[float]:
    n_find = len(task.find)
    fits = path(chosen.values, labels, n_find, settings.n_penalties)
    return [balanced_accuracy(fit.says, labels[n_find:]) for fit in fits]


def _class_rows(
    task: Task, name: str, chosen: Chosen, labels: np.ndarray, controls: np.ndarray, settings: ProbeSettings, seed: int
) -> list[dict[str, Any]]:
    n_find, true = len(task.find), labels[len(task.find) :]
    best, rows = best_unit(chosen.values, labels, n_find), []
    for i, fit in enumerate(path(chosen.values, labels, n_find, settings.n_penalties)):
        accuracy = balanced_accuracy(fit.says, true)
        low, high = accuracy_interval(fit.says, true, task.clusters, seed)
        control = controls[:, i][np.isfinite(controls[:, i])] if len(controls) else np.array([])
        mean = float(control.mean()) if len(control) else np.nan
        means = by_means(chosen.values, labels, n_find, fit.n_units) if fit.n_units else None
        rows.append({
            "class": name, "penalty": fit.penalty, "n_units": fit.n_units, "accuracy": accuracy, "low": low,
            "high": high, "control_accuracy": mean,
            "control_sd": float(control.std(ddof=1)) if len(control) > 1 else np.nan, "n_controls": len(control),
            "selectivity": accuracy - mean,
            "means_accuracy": np.nan if means is None else balanced_accuracy(means, true),
            "majority": max(float(true.mean()), 1 - float(true.mean())), "best_unit": chosen.labels[best.unit],
            "best_unit_accuracy": best.accuracy, "best_unit_iou": best.iou,
        })  # fmt: skip
    return rows
