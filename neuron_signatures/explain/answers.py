"""The entry of the log that an answer becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuron_signatures.explain.explainers.build import UnparsableAnswer, is_refusal, read_answer
from neuron_signatures.explain.modes import Mode
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.runs.explanations.entry import MAX_NAME, MAX_TEXT, Entry, Rule
from neuron_signatures.runs.explanations.names import Explainer
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.scoring.lookup.describe import describe

RULE_VERSION = "lookup-2"
"""Of the search for rules and the wording of their text."""


@dataclass(frozen=True)
class Asked:
    """One prompt about a pole, and which of its answers is wanted. `parent` is the explanation that is revised."""

    at: NeuronPole
    prompt: Prompt
    request: ChatRequest
    mode: Mode | None
    sample: int
    revision: int
    parent: str | None = None


@dataclass(frozen=True)
class Author:
    """Who answers: the set, the explainer, and the client with its model."""

    set_name: str
    explainer: Explainer
    client: str
    model: str


def entry_of(asked: Asked, answer: Answer, author: Author, *, new_id: str) -> Entry:
    """The explanation in an answer. Only an answer that says what was asked for has the status ok, and a text."""
    status, reason, text = answer.status, answer.reason, ""
    if status == "ok":
        status, reason, text = _read(author.explainer, answer.text)
    prompt = asked.prompt
    return Entry(
        **_where(asked.at, author, new_id), text=_bounded(text, MAX_TEXT), explainer=author.explainer, status=status,
        reason=_bounded(reason, 500), parent=asked.parent, sample=asked.sample, revision=asked.revision,
        mode=asked.mode.number if asked.mode else None, mode_share=asked.mode.share if asked.mode else None,
        client=author.client, model=_bounded(author.model, MAX_NAME), answered_by=_name(answer.model),
        system_fingerprint=_name(answer.system_fingerprint), temperature=asked.request.temperature,
        seed=asked.request.seed, prompt_version=prompt.version, prompt_sha256=prompt.sha256,
        evidence=list(prompt.evidence), prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens, cost=answer.cost, seconds=round(answer.seconds, 3),
    )  # fmt: skip


def choice_of(
    at: NeuronPole, author: Author, *, best: Entry, values: dict[str, float | None], select_by: str, revision: int,
    new_id: str,
) -> Entry:  # fmt: skip
    """The entry that names the best of several explanations of a pole, after so many revisions."""
    return Entry(
        **_where(at, author, new_id), kind="choice", text="", explainer=author.explainer, status="ok", about=best.id,
        values=values, select_by=select_by, revision=revision, mode=best.mode, sample=best.sample,
    )  # fmt: skip


def rule_entry(at: NeuronPole, rule: Rule, author: Author, *, seconds: float, new_id: str) -> Entry:
    """The entry of a look-up rule."""
    return Entry(
        **_where(at, author, new_id), text=_bounded(describe(rule), MAX_TEXT), explainer=author.explainer, status="ok",
        rule=rule, client=author.client, cost=0.0, seconds=round(seconds, 3), prompt_version=RULE_VERSION,
    )  # fmt: skip


def _where(at: NeuronPole, author: Author, new_id: str) -> dict[str, Any]:
    return {
        "id": new_id, "set": author.set_name, "layer": at.layer, "neuron": at.neuron, "pole": at.pole,
        "author": "model", "created_at_utc": now_utc(),
    }  # fmt: skip


def _read(explainer: Explainer, text: str) -> tuple[Status, str, str]:
    if is_refusal(text):
        return "refused", "the answer is a refusal", ""
    try:
        return "ok", "", read_answer(explainer, text)
    except UnparsableAnswer as e:
        return "unparsable", str(e), ""


def _name(text: str | None) -> str | None:
    return None if text is None else _bounded(text, MAX_NAME)


def _bounded(text: str, length: int) -> str:
    return encodable(text)[:length]
