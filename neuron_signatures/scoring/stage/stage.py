"""The work of stage 6: score what a run's scores do not have yet, and finish those that have all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from neuron_signatures.llm.cache import open_cache
from neuron_signatures.llm.choose import LlmSpec, open_client, open_prices, short_name
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.pool import HOLD_SECONDS, run_pool
from neuron_signatures.llm.session import Session
from neuron_signatures.llm.spent import Spent, spent_of
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.log import ScoreLog
from neuron_signatures.runs.scores.meta import About
from neuron_signatures.runs.scores.names import LOGS, SCORES, Scorer, scored_name
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.runs.scores.stage import begin_scores, finish_scores, is_intact, refuse_other_settings
from neuron_signatures.runs.scores.summary import summarise
from neuron_signatures.runs.stopping import HeldStop, hold_stop
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.poles import choose_poles
from neuron_signatures.scoring.stage.chosen_sets import chosen_sets
from neuron_signatures.scoring.stage.outcome import LogOutcome, Outcome
from neuron_signatures.scoring.stage.request import ASKED_PER_WINDOW, N_UNIFORM_ASKED, WITHOUT_MODEL, ScoreRequest
from neuron_signatures.scoring.stage.scored_set import Job, Missing, ScoredLog, settings_of
from neuron_signatures.scoring.stage.scorers import open_scorer
from neuron_signatures.scoring.tools import Tools

if TYPE_CHECKING:
    from neuron_signatures.scoring.scorer import ItemScorer

log = logging.getLogger(__name__)

STAGE = "score"
"""Under which requests are counted in the ledger."""


@dataclass(frozen=True)
class Opened:
    """A request with its run, and the scores that are asked for: those of each set by each scorer."""

    request: ScoreRequest
    run: Run
    records: Records
    session: Session | None
    logs: tuple[ScoredLog, ...]
    warnings: tuple[str, ...]


@contextlib.contextmanager
def opened(request: ScoreRequest) -> Iterator[Opened]:
    """Load what is needed; nothing is written yet.

    Raises `UsageError` for neurons, sets and scorers that cannot be scored or do not go together, and the errors of
    loading models, of addresses, keys and limits.
    """
    with contextlib.ExitStack() as held:
        run = held.enter_context(Run.open(request.run_dir))
        records = held.enter_context(Records.open(run))
        poles = choose_poles(run, records, request.neurons)
        chosen = chosen_sets(run, records, request.sets, poles)
        texts = [held.enter_context(one) for one in chosen.texts]
        session = _open_session(request)
        logs = []
        for name in request.scorers:
            design = design_of(request.design, name)
            tools = Tools(run, records, design, session, request.subject, request.device)
            scorer = open_scorer(name, tools)
            for one in texts:
                about = about_of(request, records, one.name, scorer, design)
                refuse_other_settings(run.path, about)
                asked = tuple(at for at in poles if at in one)
                logs.append(ScoredLog(
                    run.path, records, about, one, scorer, design, asked, controls=frozenset(request.controls),
                    retry_failed=request.retry_failed,
                ))  # fmt: skip
        for line in chosen.warnings:
            log.warning("%s", line)
        yield Opened(request, run, records, session, tuple(logs), chosen.warnings)


def design_of(design: Design, scorer: Scorer) -> Design:
    """With as many windows of the uniform sample as the scorer takes if the flags do not say how many."""
    if design.n_uniform is not None or scorer not in ASKED_PER_WINDOW:
        return design
    return replace(design, n_uniform=N_UNIFORM_ASKED)


def about_of(request: ScoreRequest, records: Records, set_name: str, scorer: ItemScorer, design: Design) -> About:
    """What the scores of a set by a scorer are."""
    llm = None if scorer.name in WITHOUT_MODEL else request.llm
    short = "-".join(filter(None, ["" if llm is None else short_name(llm.model) or llm.kind, request.label]))
    return About(
        name=scored_name(set_name, scorer.name, model=short, split=design.split), set=set_name, scorer=scorer.name,
        scorer_model=None if llm is None else llm.model, split=design.split,
        settings=settings_of(records, design, scorer, "none" if llm is None else llm.kind),
    )  # fmt: skip


def score_explanations(work: Opened, progress: ProgressOf) -> Outcome:
    """Score what is missing, and finish the scores of which nothing is.

    A budget that ends leaves what is done, and is told in the outcome. Raises `StopSignal` after a signal.
    """
    spent, stopped = Spent(), ""
    if any(one.missing() or not is_intact(work.run.path, one.about.name) for one in work.logs):
        with open_results(work.run, SCORES), hold_stop(HOLD_SECONDS) as stop:
            try:
                asyncio.run(_score_all(work, progress, stop))
            except StopAsking as e:
                stopped = e.line()
            finally:
                if work.session is not None:
                    work.session.close()
        if work.session is not None:
            spent = spent_of(work.session)
    return _outcome(work, spent, stopped)


async def _score_all(work: Opened, progress: ProgressOf, stop: HeldStop) -> None:
    try:
        for one in work.logs:
            await _score_log(work, one, progress, stop)
            if stop.wanted:
                return
    finally:
        if work.session is not None:
            await work.session.client.close()


async def _score_log(work: Opened, one: ScoredLog, progress: ProgressOf, stop: HeldStop) -> None:
    """The scores of one set by one scorer; what another process did meanwhile is not done again."""
    missing = one.missing()
    todo = missing[: work.request.limit]
    if not todo and is_intact(work.run.path, one.about.name):
        return
    with begin_scores(work.run, one.about) as into, progress(f"poles by {one.about.scorer}", len(todo)) as bar:
        await _score_missing(work, one, todo, into, bar, stop)
    if not stop.wanted and len(todo) == len(missing):
        spent = None if work.session is None else spent_of(work.session)
        finish_scores(work.run, one.about.name, spent=spent, flags_given=list(work.request.flags_given))


async def _score_missing(
    work: Opened, one: ScoredLog, todo: list[Missing], into: ScoreLog, bar: Bar, stop: HeldStop
) -> None:
    left = {m.at: len(m.items) for m in todo}
    bar.advance(sum(not n for n in left.values()))
    jobs = one.jobs(todo, into)

    def done(at: NeuronPole) -> None:
        left[at] -= 1
        bar.advance(int(not left[at]))
        if work.session is not None and work.session.client.kind == "openai":
            cost = work.session.totals.cost
            bar.note("" if cost is None else f"${cost:.4f}")

    if one.about.scorer in WITHOUT_MODEL:
        for job in jobs:
            await one.score(job, into)
            done(job.planned.at)
            if stop.wanted:
                return
        return
    assert work.request.llm is not None

    async def score(job: Job) -> None:
        await one.score(job, into)
        done(job.planned.at)

    await run_pool(jobs, score, workers=_workers(work.request.llm), stop=stop)


def _open_session(request: ScoreRequest) -> Session | None:
    """None without a language model, or if no scorer asks one."""
    if request.llm is None or set(request.scorers) <= set(WITHOUT_MODEL):
        return None
    cache = open_cache() if request.use_cache else None
    prices = open_prices(request.llm, request.price_file)
    return Session(open_client(request.llm), RequestFiles(request.run_dir, ""), cache, request.limits, prices, STAGE)


def _workers(spec: LlmSpec) -> int:
    """Items at a time: enough that requests never wait for prompts, or that batches are full."""
    return spec.batch_size if spec.kind == "local" else spec.concurrency


def _outcome(work: Opened, spent: Spent, stopped: str) -> Outcome:
    scores = Scores.open(work.run)
    logs = []
    for one in work.logs:
        name = one.about.name
        begun = name in scores.names
        table = scores.table(name).assign(split="report") if begun else None
        found = [] if table is None or not len(table) else summarise(table)
        logs.append(LogOutcome(one.about, one.tally, LOGS.is_finished(work.run.path, name), found))
    return Outcome(work.run.path, logs, spent, work.warnings, stopped)
