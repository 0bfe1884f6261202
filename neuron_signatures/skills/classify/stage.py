"""`--mode classify`: does the explanation of a unit belong to a class? Models, baselines, hand labels, agreement."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.llm.pool import HOLD_SECONDS
from neuron_signatures.llm.session import Session
from neuron_signatures.llm.spent import Spent
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.meta import CollectMeta, read_meta
from neuron_signatures.runs.skills.names import SKILLS, record_name
from neuron_signatures.runs.skills.units import Banks
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.stage_results import write_table
from neuron_signatures.runs.stopping import hold_stop
from neuron_signatures.skills.classify.agreed import agreement_frame, agreement_rows, raters_of
from neuron_signatures.skills.classify.baselines import by_activations, by_auroc, by_embedding
from neuron_signatures.skills.classify.by_model import ModelRatings, asked_of, forecast_of, open_session, rate
from neuron_signatures.skills.classify.controls import control_rows, controls_frame
from neuron_signatures.skills.classify.hand_labels import read_hand_labels
from neuron_signatures.skills.classify.items import (
    ExplainedUnit,
    Pair,
    class_texts,
    explained_units,
    pairs_of,
    shuffled_pairs,
)
from neuron_signatures.skills.classify.outcome import Forecast, Outcome
from neuron_signatures.skills.classify.rating import Rating, ratings_frame
from neuron_signatures.skills.classify.request import ClassifyRequest, check_raters, rater_name

STAGE = "poc7_compare_skills"


@dataclass(frozen=True)
class Opened:
    """What is rated. `asked` goes to models; baselines rate `everything`, which costs nothing."""

    collect: CollectMeta
    units: tuple[ExplainedUnit, ...]
    classes: Mapping[str, str]
    """Their descriptions."""
    asked: Sequence[Pair]
    everything: Sequence[Pair]
    hand: Sequence[Rating]


def forecast(request: ClassifyRequest) -> Forecast:
    """Raises as the stage does for flags and files that are wrong."""
    work = _opened(request)
    asked = asked_of(request, work.asked, work.classes)
    models = {rater_name(spec): forecast_of(spec, request, asked) for spec in request.llms}
    return Forecast(len(work.units), len(work.asked), models)


def classify_units(request: ClassifyRequest, progress: ProgressOf) -> Outcome:
    """Rate, compare the raters, and write the tables and the record.

    Models are asked first. If one stops early, no table is written: its answers are in the journal, and the same
    command continues. Raises `StopSignal` after a signal.
    """
    start = time.monotonic()
    work = _opened(request)
    with Run.open(request.run_dir) as run:
        first = open_session(request, request.llms[0]) if request.llms else None  # its errors come before any writing
        with open_results(run, SKILLS) as writer:
            by_model = _ask_models(request, work, first, progress)
            outcome = _outcome(request, work, by_model, "not computed")
            if outcome.stopped:
                return outcome
            embedded, embedding = by_embedding(work.everything, work.classes, device=request.device)
            ratings = [
                *work.hand, *by_activations(work.everything), *(r for m in by_model.values() for r in m.ratings),
                *embedded, *by_auroc(work.everything),
            ]  # fmt: skip
            agreement = agreement_rows(raters_of(ratings), list(_classes(request, work)), seed=request.seed)
            controls = control_rows(ratings, seed=request.seed)
            outcome = _outcome(request, work, by_model, embedding, agreement, controls)
            write_table_set(writer, ratings, agreement, controls)
            writer.record(record_name("classify"), stage_record(
                run_identity(run), "classify", request.settings(), stage=STAGE, facts=outcome.facts(),
                collect_sha256=work.collect.record_sha256, flags_given=list(request.flags_given),
                wall_seconds=round(time.monotonic() - start, 3), classes=dict(work.classes),
            ))  # fmt: skip
    return outcome


def write_table_set(
    writer: ResultsWriter, ratings: Sequence[Rating], agreement: Sequence[Mapping[str, object]],
    controls: Sequence[Mapping[str, object]],
) -> None:  # fmt: skip
    """The tables of the mode, without its record."""
    writer.begin(record_name("classify"))
    write_table(writer, names.CLASSIFICATIONS, ratings_frame(ratings), columns.CLASSIFICATIONS)
    write_table(writer, names.AGREEMENT, agreement_frame(agreement), columns.AGREEMENT)
    write_table(writer, names.CLASSIFICATION_CONTROLS, controls_frame(controls), columns.CLASSIFICATION_CONTROLS)


def _opened(request: ClassifyRequest) -> Opened:
    check_raters(request.llms)
    collect = read_meta(request.run_dir, "collect", CollectMeta)
    units = explained_units(request.run_dir, collect, request.choice)
    classes = class_texts(collect, request.descriptions)
    chosen = _chosen(classes, request)
    everything = pairs_of(units, chosen, "all")
    asked = pairs_of(units, chosen, request.pairs)
    if request.controls:
        shuffled = shuffled_pairs(asked, np.random.default_rng(request.seed)) if request.pairs == "own" else []
        asked = [*asked, *shuffled]
    hand: list[Rating] = []
    if request.hand_labels is not None:
        banks = Banks(record.bank for record in collect.banks)
        hand = read_hand_labels(request.hand_labels, everything, list(classes), banks)
    return Opened(collect, units, classes, asked, everything, hand)


def _chosen(classes: Mapping[str, str], request: ClassifyRequest) -> list[str]:
    wanted = request.choice.classes
    if wanted is None:
        return list(classes)
    if unknown := [name for name in wanted if name not in classes]:
        raise UsageError(f"no class {unknown[0]!r}; there are {', '.join(classes)}", where="--classes")
    return [name for name in classes if name in wanted]


def _classes(request: ClassifyRequest, work: Opened) -> list[str]:
    return _chosen(work.classes, request)


def _ask_models(
    request: ClassifyRequest, work: Opened, first: Session | None, progress: ProgressOf
) -> dict[str, ModelRatings]:
    """By rater, up to the first that stopped early."""
    asked = asked_of(request, work.asked, work.classes)
    found: dict[str, ModelRatings] = {}
    for spec in request.llms:
        session, first = first or open_session(request, spec), None
        with progress("answers", len(asked)) as bar, hold_stop(HOLD_SECONDS) as stop:
            found[rater_name(spec)] = rate(session, spec, asked, again=request.retry_failed, bar=bar, stop=stop)
        if found[rater_name(spec)].stopped:
            break
    return found


def _outcome(
    request: ClassifyRequest, work: Opened, by_model: Mapping[str, ModelRatings], embedding: str,
    agreement: Sequence[Mapping[str, object]] = (), controls: Sequence[Mapping[str, object]] = (),
) -> Outcome:  # fmt: skip
    spent: dict[str, Spent] = {name: m.spent for name, m in by_model.items()}
    return Outcome(
        request.run_dir, len(work.units), len(work.asked),
        {name: dict(Counter(r.status for r in m.ratings)) for name, m in by_model.items()}, spent, embedding,
        [row for row in agreement if row["class"] == ""], controls,
        {name: m.answered_by for name, m in by_model.items()},
        next((m.stopped for m in by_model.values() if m.stopped), ""),
    )  # fmt: skip
