"""Examples for training, made of an explanation: a prompt with its answer, or texts with their activations."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.explainers.build import TooLittle, UnparsableAnswer, build_prompt, read_answer
from neuron_signatures.explain.method import Method
from neuron_signatures.explain.work import modes_of
from neuron_signatures.llm.chat import Message
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.simulators.json_prompt import simulation_answer, simulation_messages

if TYPE_CHECKING:
    from neuron_signatures.explain.prompt import Prompt
    from neuron_signatures.explain.work import Scorers

Conversation = tuple[Message, ...]
N_STRONGEST: Final = 3
N_RANDOM: Final = 3
"""Texts of a simulator's examples, per explanation."""
BEFORE: Final = 40
AFTER: Final = 8
"""Tokens of a text around its largest activation."""


class LeftOut(NamedTuple):
    reason: str


class ExplainerExamples:
    """The prompt that a language model was asked, and the explanation that is accepted now.

    A revision or an edit is the answer to the prompt of the explanation that it goes back to.
    """

    def __init__(self, run: Run, records: Records, settings: dict[str, Any]) -> None:
        """`settings` are those of the set; without a method that asks a language model there are no examples."""
        self._run, self._records, self._method = run, records, _method(settings)
        self._scorers: Scorers | None = None

    def examples(self, shown: Shown) -> list[Conversation] | LeftOut:
        first = shown.chain[0] if shown.chain else shown.entry
        if self._method is None or self._method.explainer != first.explainer:
            return LeftOut("no language model was asked with a prompt of this program")
        try:
            if read_answer(self._method.explainer, shown.text) != shown.text:
                return LeftOut("its text has not the form of an answer")
        except UnparsableAnswer:
            return LeftOut("its text has not the form of an answer")
        prompt = self._prompt(first, self._method)
        if prompt is None or prompt.sha256 != first.prompt_sha256:
            return LeftOut("the prompt that is built now is not the one that was answered")
        return [(*prompt.messages, Message("assistant", shown.text))]

    def _prompt(self, first: Entry, method: Method) -> Prompt | None:
        from neuron_signatures.explain.by_model import evidence_settings, open_scorers

        if self._scorers is None:
            self._scorers = open_scorers(method, self._records)
        at = NeuronPole(first.layer, first.neuron, first.pole)
        evidence = NeuronEvidence.open(
            self._records, at, evidence_settings(method), self._run, vectors=self._scorers.vectors
        )
        modes = modes_of(evidence, method, self._scorers.embedder)
        for mode in modes:
            if (mode.number if mode else None) == first.mode:
                prompt = build_prompt(method.explainer, evidence, mode=mode)
                return None if isinstance(prompt, TooLittle) else prompt
        return None


class SimulatorExamples:
    """Texts of the part explain with their activations from 0 to 10: some of the strongest and some at random."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._settings = EvidenceSettings(before=BEFORE, after=AFTER)

    def examples(self, shown: Shown) -> list[Conversation] | LeftOut:
        if not self._records.sampled(shown.at.layer, shown.at.neuron):
            return LeftOut("the activations of the neuron are not stored")
        evidence = NeuronEvidence.open(self._records, shown.at, self._settings)
        if not evidence.strongest:
            return LeftOut("no positive activation of this pole in the documents of the part explain")
        strongest = evidence.strongest[:N_STRONGEST]
        texts = [*strongest, *evidence.random(N_RANDOM, strongest)]
        return [_simulated(shown.text, text, evidence.largest) for text in texts]


def _simulated(explanation: str, text: Excerpt, largest: float) -> Conversation:
    """Positions that do not count are left out where they begin the text, else they are 0."""
    first = int(text.counts.argmax())
    tokens, levels = text.tokens[first:], text.levels(largest)[first:].clip(min=0).tolist()
    return *simulation_messages(explanation, tokens), Message("assistant", simulation_answer(tokens, levels))


def _method(settings: dict[str, Any]) -> Method | None:
    """The method of a set; None for rules and imported files."""
    if settings.get("explainer") in (None, "lookup") or "n_windows" not in settings:
        return None
    known = {f.name for f in fields(Method)}
    return Method(**{name: value for name, value in settings.items() if name in known})
