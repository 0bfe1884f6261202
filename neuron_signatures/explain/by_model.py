"""Explanations of many poles by a language model, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.method import Method
from neuron_signatures.explain.outcome import Tally
from neuron_signatures.explain.taking import Taking
from neuron_signatures.explain.work import Scorers, Tools, explain_pole
from neuron_signatures.llm.cache import open_cache
from neuron_signatures.llm.choose import LlmSpec, open_client, open_prices
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.pool import run_pool
from neuron_signatures.llm.session import Session
from neuron_signatures.llm.spent import Spent, spent_of
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.log import ExplanationLog
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.stopping import HeldStop

if TYPE_CHECKING:
    from neuron_signatures.explain.stage import Opened

STAGE = "explain"
"""Under which requests are counted in the ledger."""


class Asking(NamedTuple):
    """The model, and what its answers are judged by."""

    session: Session
    scorers: Scorers


def open_asking(work: Opened) -> Asking:
    """Load what is needed; nothing is written yet. Raises the errors of loading, of addresses, keys and limits."""
    return Asking(_open_session(work), open_scorers(work.request.method, work.records))


def explain_by_model(
    work: Opened, poles: Taking, asking: Asking, into: ExplanationLog, tally: Tally, bar: Bar, stop: HeldStop
) -> tuple[Spent, str]:
    """What was spent, and why it ended early (empty if it did not)."""
    session, scorers = asking
    assert work.request.llm is not None
    explained: set[NeuronPole] = set()

    def save(entry: Entry) -> None:
        into.append(entry)
        explained.add(NeuronPole(entry.layer, entry.neuron, entry.pole))

    tools = Tools(
        records=work.records, method=work.request.method, author=work.author,
        evidence_of=lambda at: open_evidence(work, at, scorers), session=session, scorers=scorers,
        select_parts=work.source.select, done=work.before.done, retry_failed=work.request.retry_failed,
        save=save, new_id=into.new_id, tally=tally,
    )  # fmt: skip
    try:
        asyncio.run(_run(tools, poles, explained, bar, stop, workers=_workers(work.request.llm)))
    except StopAsking as e:
        return spent_of(session), e.line()
    finally:
        session.close()
    return spent_of(session), ""


def evidence_settings(method: Method) -> EvidenceSettings:
    return EvidenceSettings(n_windows=method.n_windows, seed=method.seed, max_prompt_tokens=method.max_prompt_tokens)


def open_evidence(work: Opened, at: NeuronPole, scorers: Scorers) -> NeuronEvidence:
    """What the prompt of a pole is made from."""
    return NeuronEvidence.open(
        work.records, at, evidence_settings(work.request.method), work.run, vectors=scorers.vectors,
        neighbours=work.neighbours.get(at, ()),
    )  # fmt: skip


def open_scorers(method: Method, records: Records) -> Scorers:
    """What the method needs. Raises `EnvironmentProblem` if the embedding model cannot be had."""
    from neuron_signatures.explain.evidence.silent import WindowVectors
    from neuron_signatures.scoring.simulators.choose import open_simulator

    simulator = open_simulator(method.select_by) if method.chooses else None
    if method.modes == 1 and not method.near_by_embedding:
        return Scorers(simulator)
    from neuron_signatures.models.embedding import load_embedder

    embedder = load_embedder()
    vectors = WindowVectors(records.corpus, embedder.embed) if method.near_by_embedding else None
    return Scorers(simulator, embedder, vectors)


async def _run(
    tools: Tools, poles: Taking, explained: Container[NeuronPole], bar: Bar, stop: HeldStop, *, workers: int
) -> None:
    async def one(at: NeuronPole) -> None:
        await explain_pole(at, tools)
        if at not in explained:
            bar.extend(int(poles.gave_nothing()))
        bar.advance(1)
        bar.note(_cost_text(tools.session))

    try:
        await run_pool(poles, one, workers=workers, stop=stop)
    finally:
        await tools.session.client.close()


def _open_session(work: Opened) -> Session:
    request = work.request
    assert request.llm is not None
    client = open_client(request.llm)
    files = RequestFiles(work.run.path, "" if request.shard is None else f"{request.set_name}-{request.shard.name}")
    cache = open_cache() if request.use_cache else None
    return Session(client, files, cache, request.limits, open_prices(request.llm, request.price_file), STAGE)


def _workers(spec: LlmSpec) -> int:
    """Poles at a time: enough that requests never wait for prompts, or that batches are full."""
    return 2 * spec.batch_size if spec.kind == "local" else 2 * spec.concurrency


def _cost_text(session: Session) -> str:
    cost = session.totals.cost
    return "" if cost is None or session.client.kind != "openai" else f"${cost:.4f}"
