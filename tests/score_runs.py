"""Runs with scores made by hand: records, explanations, and logs of scores written through the real functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from explanation_runs import Log, highlighted, lookup, unfinished
from record_runs import make_record_run

from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.explanations.reader import Explanations, Shown
from neuron_signatures.runs.explanations.stage import begin_set, finish_set
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.line import ScoreLine, ScoreValue, StoredMistake, StoredWindow
from neuron_signatures.runs.scores.meta import About
from neuron_signatures.runs.scores.names import SCORES, Control, Scorer, Split, scored_name
from neuron_signatures.runs.scores.stage import begin_scores, finish_scores

WHEN = "2026-03-04T06:07:08+00:00"
HEADLINE = "correlation/uniform"
HOSTILE = "<b>x</b>\x1b[31m\u202e"


def about(
    set_name: str, scorer: Scorer, *, model: str | None = None, split: Split = "report", **settings: Any
) -> About:
    """Of scores with the usual name."""
    short = "" if model is None else model.rpartition("/")[2]
    return About(
        name=scored_name(set_name, scorer, model=short, split=split), set=set_name, scorer=scorer, scorer_model=model,
        split=split, settings={"n_top": 5, "n_random": 5, "seed": 0, **settings},
    )  # fmt: skip


def value(
    v: float | None, *, n: int = 400, n_positive: int | None = 12, undefined: str = "", half: float = 0.05
) -> ScoreValue:  # fmt: skip
    """A score with an interval of ± `half`; undefined with a reason if it is None."""
    if v is None:
        return ScoreValue(value=None, n=n, n_positive=n_positive, undefined=undefined or "constant_prediction")
    return ScoreValue(value=v, ci_low=v - half, ci_high=v + half, n=n, n_positive=n_positive)


def line(
    at: NeuronPole, explanation: str, scores: Mapping[str, float | ScoreValue | None], *, control: Control = "own",
    **more: Any,
) -> ScoreLine:  # fmt: skip
    """A line whose scores are given as numbers."""
    found = {name: v if isinstance(v, ScoreValue) else value(v) for name, v in scores.items()}
    return ScoreLine(
        **{"explanation": explanation, "layer": at.layer, "neuron": at.neuron, "pole": at.pole, "control": control,
           "status": "ok", "scores": found, "created_at_utc": WHEN, **more}
    )  # fmt: skip


def write_score_log(run_dir: Path, of: About, lines: Sequence[ScoreLine], *, finished: bool = True) -> str:
    """Write a log of scores and, if finished, its table and record; returns the name."""
    with Run.open(run_dir) as run, open_results(run, SCORES):
        with begin_scores(run, of) as log:
            for one in lines:
                log.append(one)
        if finished:
            finish_scores(run, of.name)
    return of.name


def make_scored_run(path: Path) -> Path:
    """A run with records, four sets of explanations, and six logs of scores; returns its folder.

    - `highlighted__embedding`: correlations with windows, mistakes and all controls; failed explanations are rows too.
      Its null is that of all layers, since it has few draws.
    - `intervals__embedding`: the same of eight neurons in two layers, each of which has a null of its own.
    - `highlighted__detection-some-model`: judged examples, a failed and a half-failed line.
    - `lookup__rule`: the same high value for every rule.
    - `contrastive__rule-select`: values for choosing, which are no scores.
    - `contrastive__rule`: unfinished.
    """
    make_record_run(path, chosen=[(layer, neuron) for layer in range(2) for neuron in range(4)])
    for log in (highlighted(), intervals(), lookup()):
        write_set(path, log)
    write_set(path, unfinished(), finished=False)
    return write_scores(path)


def intervals() -> Log:
    """Set `intervals`: the positive poles of eight neurons."""
    log = Log("intervals", minute=30, explainer="intervals")
    for layer in range(2):
        for neuron in range(4):
            log.explain(f"L{layer}N{neuron}+", f"theme {layer} {neuron}")
    return log


def write_set(run_dir: Path, log: Log, *, finished: bool = True) -> None:
    """Write a set of explanations with its settings and, if finished, its table and record."""
    with Run.open(run_dir) as run, open_results(run, EXPLANATIONS):
        with begin_set(run, log.name, {"explainer": log.name}) as into:
            for entry in log.entries:
                into.append(entry)
        if finished:
            finish_set(run, log.name, skipped={})


def write_scores(run_dir: Path) -> Path:
    """The scores of `make_scored_run`, for a run with its records and explanations."""
    explanations = Explanations.open(run_dir)
    shown = {name: current(explanations, name) for name in explanations.set_names}
    with Records.open(run_dir) as records:
        lines = embedding_lines(records, shown["highlighted"]) + failed_lines(explanations, "highlighted")
        write_score_log(run_dir, about("highlighted", "embedding"), lines)
        write_score_log(run_dir, about("intervals", "embedding"), embedding_lines(records, shown["intervals"]))
        judged = about("highlighted", "detection", model="some-model")
        write_score_log(run_dir, judged, detection_lines(records, shown["highlighted"]))
        rules = [line(at(s), s.entry.id, {HEADLINE: 0.9, "auprc/uniform": 0.8}) for s in shown["lookup"]]
        write_score_log(run_dir, about("lookup", "rule"), rules)
        rest = [line(at(s), s.entry.id, {HEADLINE: 0.2, "auprc/uniform": None}) for s in shown["contrastive"]]
        write_score_log(run_dir, about("contrastive", "rule"), rest, finished=False)
        write_score_log(run_dir, about("contrastive", "rule", split="select"), rest)
    return run_dir


def at(shown: Shown) -> NeuronPole:
    return NeuronPole(shown.entry.layer, shown.entry.neuron, shown.entry.pole)


def current(explanations: Explanations, name: str) -> list[Shown]:
    return [s for s in explanations.all() if s.current and s.entry.set == name]


def failed_lines(explanations: Explanations, name: str) -> list[ScoreLine]:
    """Of the explanations whose request failed."""
    failed = [s for s in explanations.all() if s.entry.set == name and s.entry.status != "ok"]
    return [line(at(s), s.entry.id, {}, status=s.entry.status, reason=s.entry.reason) for s in failed]


def embedding_lines(records: Records, shown: Sequence[Shown]) -> list[ScoreLine]:
    """Own scores that fall from .6, draws of the null around 0, and all controls."""
    random, lines = np.random.default_rng(0), []
    for i, s in enumerate(shown):
        own = None if i == 3 else 0.6 - 0.1 * i
        windows = stored_windows(records, at(s))
        mistakes = [
            StoredMistake(window=windows[0].window, pos=1, predicted=0.9, actual=0.0),
            StoredMistake(window=windows[-1].window, pos=2, predicted=0.0, actual=1.0),
        ]
        scores = {HEADLINE: own, "auprc/uniform": 0.3 - 0.02 * i, "f1/uniform": 0.2}
        lines.append(line(at(s), s.entry.id, scores, windows=windows, mistakes=mistakes))
        for other in shown[:i] + shown[i + 1 :]:
            if other.entry.layer == s.entry.layer and other.entry.neuron != s.entry.neuron:
                draw = {HEADLINE: float(random.normal(0, 0.05)), "auprc/uniform": 0.1, "f1/uniform": None}
                lines.append(line(at(s), other.entry.id, draw, control="other", other=at(other).label))
        for control, v in (("shuffled", 0.4), ("empty", None), ("text", 0.01), ("constant", None), ("ceiling", 0.98),
                           ("lookup", 0.7)):  # fmt: skip
            beside = {HEADLINE: value(v, undefined="not_simulated" if control == "empty" else "")}
            lines.append(line(at(s), s.entry.id, beside, control=control))
    return lines


def detection_lines(records: Records, shown: Sequence[Shown]) -> list[ScoreLine]:
    """Judged windows; the second explanation was not scored, and of the third one of two requests failed."""
    lines = []
    for i, s in enumerate(shown):
        if i == 1:
            lines.append(line(at(s), s.entry.id, {}, status="timed_out", reason="no answer within 60 s",
                              requests=["timed_out", "timed_out"]))  # fmt: skip
            continue
        windows = [int(w) for w in records.sample(s.entry.layer, s.entry.neuron, parts=("report",)).windows[:4]]
        examples = [
            {"window": w, "truth": j % 2 == 0, "answer": j < 2, "reason": HOSTILE} for j, w in enumerate(windows)
        ]
        requests = ["ok", "unparsable"] if i == 2 else ["ok", "ok"]
        lines.append(line(
            at(s), s.entry.id, {"balanced_accuracy/detection": value(0.75, n=20, n_positive=10)}, requests=requests,
            examples=examples, prompt_version="detection-1", answered_by="some-model-2026-01", prompt_tokens=900,
            completion_tokens=30, cost=0.001, seconds=1.5,
        ))  # fmt: skip
    return lines


def stored_windows(records: Records, at: NeuronPole) -> list[StoredWindow]:
    """Three windows of the report part with predictions: half of the true activation, else noise; one failed."""
    sample = records.sample(at.layer, at.neuron, parts=("report",))
    sign, found = 1 if at.pole == "+" else -1, []
    for i, window in enumerate(sample.windows[:3]):
        acts = sign * np.asarray(sample.acts_of(i), np.float64)
        predicted = np.round(np.maximum(acts, 0) / 2 + 0.1 * (np.arange(len(acts)) % 3 == 1), 4)
        found.append(StoredWindow(window=int(window), sample="uniform", values=[float(v) for v in predicted]))
    return [*found, StoredWindow(window=int(sample.windows[3]), sample="top", status="refused", reason=HOSTILE)]
