"""Everything that is asked and decided about one pole of a neuron, each answer stored as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from neuron_signatures.explain.answers import Asked, Author, choice_of, entry_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers.build import TooLittle, build_prompt, shows_texts
from neuron_signatures.explain.method import Method
from neuron_signatures.explain.modes import Mode, find_modes
from neuron_signatures.explain.outcome import Tally
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.explain.revise import revision_prompt
from neuron_signatures.llm.asking.accounts import ANSWERED
from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.explanations.done import Done, Key
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.choose import choose_best
from neuron_signatures.scoring.lookup.rule import SHARE
from neuron_signatures.scoring.mistakes import Mistakes, find_mistakes
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text, strongest_texts, uniform_texts

if TYPE_CHECKING:
    from neuron_signatures.explain.evidence.silent import WindowVectors
    from neuron_signatures.models.embedding import SentenceEmbedder

N_MISTAKES = 5
"""Of each kind that a revision shows."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Scorers:
    """What is loaded only if it is needed: None where a method does without."""

    simulator: Simulator | None = None
    """Chooses among several explanations."""
    embedder: SentenceEmbedder | None = None
    """Finds modes."""
    vectors: WindowVectors | None = None
    """Finds silent windows that are like the strongest."""


@dataclass(frozen=True)
class Tools:
    """What the poles of a set are explained with. `done` is what the set had before; `save` stores an entry."""

    records: Records
    method: Method
    author: Author
    evidence_of: Callable[[NeuronPole], NeuronEvidence]
    session: Session
    scorers: Scorers
    select_parts: tuple[Part, ...]
    done: Done
    retry_failed: bool
    save: Callable[[Entry], None]
    new_id: Callable[[], str]
    tally: Tally
    simulating: asyncio.Lock = field(default_factory=asyncio.Lock)


async def explain_pole(at: NeuronPole, tools: Tools) -> None:
    """Explain a pole by a language model. What the set has of it already is not asked again.

    Raises `StopAsking` if a request would pass a limit; what was answered before is stored.
    """
    evidence = tools.evidence_of(at)
    for mode in modes_of(evidence, tools.method, tools.scorers.embedder):
        prompt = build_prompt(tools.method.explainer, evidence, mode=mode)
        if isinstance(prompt, TooLittle):
            tools.tally.leave_out(at.label, prompt.reason)
            return
        await _explain_mode(at, evidence, prompt, mode, tools)


def modes_of(evidence: NeuronEvidence, method: Method, embedder: SentenceEmbedder | None) -> Sequence[Mode | None]:
    """The clusters that are explained; one None if all strongest windows are explained together."""
    if method.modes == 1 or not shows_texts(method.explainer):
        return [None]
    assert embedder is not None
    found = find_modes(evidence.strongest, method.modes, embedder.embed, method.seed)
    return found if len(found) > 1 else [None]


async def _explain_mode(
    at: NeuronPole, evidence: NeuronEvidence, prompt: Prompt, mode: Mode | None, tools: Tools
) -> None:
    asked = [request_of(at, prompt, mode, tools.method, sample=i) for i in range(tools.method.n_samples)]
    best = await _best(at, await _all(_ask(one, tools) for one in asked), tools, revision=0)
    for number in range(1, tools.method.revise + 1):
        if best is None:
            return
        again = revision_prompt(tools.method.explainer, evidence, best.text, await _mistakes(at, best, tools))
        if isinstance(again, TooLittle):  # no mistake to learn from
            return
        revision = request_of(
            at, again, mode, tools.method, sample=best.sample, revision=number, parent=best.id
        )  # fmt: skip
        best = await _best(at, [best, await _ask(revision, tools)], tools, revision=number)


def request_of(
    at: NeuronPole, prompt: Prompt, mode: Mode | None, method: Method, *, sample: int, revision: int = 0,
    parent: str | None = None,
) -> Asked:  # fmt: skip
    """What is sent for one explanation."""
    seed = method.request_seed(at, mode=mode.number if mode else None, sample=sample, revision=revision)
    max_tokens = method.max_tokens or prompt.max_tokens
    return Asked(
        at, prompt, ChatRequest(prompt.messages, max_tokens, method.temperature, seed), mode, sample, revision, parent
    )


async def _ask(asked: Asked, tools: Tools) -> Entry:
    """The stored explanation, or a new one."""
    key = Key(*asked.at, asked.mode.number if asked.mode else None, asked.sample, asked.revision)
    skip = 0
    if key in tools.done:
        if tools.done.status(key) == "ok" or not tools.retry_failed:
            return tools.done[key]
        before = [e for e in tools.done.attempts(key) if e.prompt_sha256 == asked.prompt.sha256]
        skip = sum(e.status in ANSWERED for e in before)
    answer = await tools.session.ask(asked.request, skip=skip)
    entry = entry_of(asked, answer, tools.author, new_id=tools.new_id())
    tools.save(entry)
    tools.tally.statuses[entry.status] += 1
    return entry


async def _best(at: NeuronPole, candidates: Sequence[Entry], tools: Tools, *, revision: int) -> Entry | None:
    """The candidate with the best score on the texts for choosing; None if none is an explanation.

    A choice between the same candidates that the set has already stays.
    """
    ok = {e.id: e for e in candidates if e.status == "ok"}
    if len(ok) < 2:
        return next(iter(ok.values()), None)
    before = tools.done.choices.get((at, candidates[0].mode, revision))
    if before is not None and before.about in ok and set(before.values or {}) == set(ok):
        return ok[before.about]
    assert tools.scorers.simulator is not None
    said = {id_: Said(e.text, e.rule) for id_, e in ok.items()}
    texts = _select_texts(at, tools)
    async with tools.simulating:
        choice = await asyncio.to_thread(choose_best, said, tools.scorers.simulator, texts)
    tools.tally.n_undecided += not choice.is_decided
    best = ok[choice.best]
    tools.save(choice_of(
        at, tools.author, best=best, values=choice.values, select_by=tools.method.select_by, revision=revision,
        new_id=tools.new_id(),
    ))  # fmt: skip
    return best


async def _mistakes(at: NeuronPole, best: Entry, tools: Tools) -> Mistakes:
    assert tools.scorers.simulator is not None
    texts, threshold = _select_texts(at, tools), _active_from(at, tools.records)
    async with tools.simulating:
        return await asyncio.to_thread(
            find_mistakes, tools.scorers.simulator, Said(best.text, best.rule), texts, threshold=threshold,
            n=N_MISTAKES,
        )  # fmt: skip


def _active_from(at: NeuronPole, records: Records) -> float:
    """The activation from which look-up rules take a position as active."""
    strongest = strongest_texts(records, at, k=1)
    return SHARE * strongest[0].peak if strongest else 0.0


def _select_texts(at: NeuronPole, tools: Tools) -> list[Text]:
    return uniform_texts(tools.records, at, parts=tools.select_parts)


async def _all(coroutines: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """The results of all; the first exception is raised when all have ended, so that paid answers are stored."""
    found = await asyncio.gather(*coroutines, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if not isinstance(one, BaseException)]
