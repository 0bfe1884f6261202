"""What detection and fuzzing share: windows go to a judge a few at a time, and its answers become a score."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.judges.asking import Verdicts, ask_all
from neuron_signatures.scoring.judges.judged import Scoring, accuracy, unmeasured
from neuron_signatures.scoring.judges.prompt import JudgePrompt
from neuron_signatures.scoring.judges.windows import PER_CLASS, Shown, enough
from neuron_signatures.scoring.lookup.rule import rule_of
from neuron_signatures.scoring.predictions import Undefined
from neuron_signatures.scoring.scorer import TOO_FEW, Item, Measured, Scored
from neuron_signatures.scoring.tools import Tools

PER_REQUEST: Final = 5
"""Windows that a judge is shown at once."""
_MAX_TOKENS: Final = 64
"""Of an answer: twice what a list of `PER_REQUEST` numbers in a Markdown fence takes."""
_COMPUTED: tuple[Control, ...] = ("constant", "ceiling", "lookup")

Draw = Callable[[NeuronTexts, Design], list[Shown]]
"""The examples of a neuron: the same ones in the same order for all explanations."""
RuleJudge = Callable[[Rule, Shown], bool]


class Judge:
    """Balanced accuracy of a judge that is shown an explanation and windows: 1 is perfect, .5 is chance.

    Controls without a request: `constant` answers 1 always, `ceiling` answers the truth, `lookup` what the look-up rule
    of the neuron says.
    """

    controls: frozenset[Control] = frozenset(
        ("own", "other", "shuffled", "empty", "text", "constant", "ceiling", "lookup")
    )
    n_others = 0

    def __init__(self, tools: Tools, name: Scorer, prompt: JudgePrompt, draw: Draw, by_rule: RuleJudge) -> None:
        self.name: Scorer = name
        self.prompt_version: str | None = prompt.version
        self._measure = f"balanced_accuracy/{name}"
        self._tools, self._prompt, self._draw, self._by_rule = tools, prompt, draw, by_rule
        self._session = _session_of(tools, name)

    def settings(self) -> dict[str, Any]:
        """What a continued log must share."""
        return {
            "prompt_version": self.prompt_version, "windows_per_request": PER_REQUEST, "windows_per_class": PER_CLASS,
        }  # fmt: skip

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[ChatRequest]:
        """What `score` sends: nothing for computed controls and for a neuron with too few windows."""
        shown = self._draw(texts, self._tools.design)
        return self._requests(item, shown) if self._is_asked(item, shown) else []

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        """Raises `StopAsking` if a limit is reached."""
        start = time.monotonic()
        shown = self._draw(texts, self._tools.design)
        if not enough(shown, self._tools.design):
            return Scored({self._measure: unmeasured(shown, TOO_FEW)})
        if not self._is_asked(item, shown):
            return Scored({self._measure: await self._computed(item, shown)}, seconds=time.monotonic() - start)
        verdicts, usage = await ask_all(
            self._session, self._requests(item, shown), [len(b) for b in _batches(shown)], again=item.again
        )
        answers = _answers(shown, verdicts)
        is_own = item.control == "own"
        return Scored(
            {self._measure: accuracy(shown, answers, Scoring(item.at, self._tools.design, has_interval=is_own))},
            statuses=[v.status for v in verdicts],
            reason=next((v.reason for v in verdicts if v.status != "ok"), ""),
            examples=[_example(s, a) for s, a in zip(shown, answers, strict=True)] if is_own else (),
            prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cost=usage.cost,
            answered_by=usage.answered_by, seconds=time.monotonic() - start,
        )  # fmt: skip

    def _is_asked(self, item: Item, shown: Sequence[Shown]) -> bool:
        return item.control not in _COMPUTED and enough(shown, self._tools.design)

    def _requests(self, item: Item, shown: Sequence[Shown]) -> list[ChatRequest]:
        seed = self._tools.design.seed
        return [
            ChatRequest(self._prompt.messages(item.said.text, batch), _MAX_TOKENS, 0.0, seed)
            for batch in _batches(shown)
        ]

    async def _computed(self, item: Item, shown: Sequence[Shown]) -> Measured:
        scoring = Scoring(item.at, self._tools.design, has_interval=False)
        if item.control == "constant":
            return accuracy(shown, [True] * len(shown), scoring)
        if item.control == "ceiling":
            return accuracy(shown, [one.label for one in shown], scoring)
        rule = await asyncio.to_thread(rule_of, self._tools.records, item.at)
        if rule is None:
            return unmeasured(shown, Undefined.NOT_SIMULATED.value)
        return accuracy(shown, [self._by_rule(rule, one) for one in shown], scoring)


def _session_of(tools: Tools, name: Scorer) -> Session:
    if tools.session is None or tools.session.client.kind == "none":
        next_step = "Name one with --llm openai:MODEL or local:NAME"
        raise UsageError(f"the scorer {name} needs a language model", where="--scorers", next_step=next_step)
    return tools.session


def _batches(shown: Sequence[Shown]) -> list[Sequence[Shown]]:
    return [shown[i : i + PER_REQUEST] for i in range(0, len(shown), PER_REQUEST)]


def _answers(shown: Sequence[Shown], verdicts: Sequence[Verdicts]) -> list[bool | None]:
    """One per window; None where its request failed."""
    pairs = zip(_batches(shown), verdicts, strict=True)
    return list(chain.from_iterable(v.values if v.values is not None else [None] * len(b) for b, v in pairs))


def _example(shown: Shown, answer: bool | None) -> dict[str, Any]:
    marks = {"marks": list(shown.marks)} if shown.marks else {}
    return {
        "window": shown.text.window,
        "label": int(shown.label),
        "answer": None if answer is None else int(answer),
    } | marks
