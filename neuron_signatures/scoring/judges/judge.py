"""What detection and fuzzing share: windows go to a judge a few at a time, and its answers become a score."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.llm.json_text import NotJson
from neuron_signatures.llm.refusals import is_refusal
from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.asking import Failed, all_of, ask_and_read, session_of, usage_of
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.judges.answers import read_verdicts
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
        self._drawn: WeakKeyDictionary[NeuronTexts, list[Shown]] = WeakKeyDictionary()
        self._session = session_of(tools, name)

    def settings(self) -> dict[str, Any]:
        """What a continued log must share."""
        return {
            "prompt_version": self.prompt_version, "windows_per_request": PER_REQUEST, "windows_per_class": PER_CLASS,
        }  # fmt: skip

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[ChatRequest]:
        """What `score` sends: nothing for computed controls and for a neuron with too few windows."""
        shown = self._shown(texts)
        return self._requests(item, shown) if self._is_asked(item, shown) else []

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        """Raises `StopAsking` if a limit is reached."""
        start = time.monotonic()
        shown = self._shown(texts)
        if self._is_asked(item, shown):
            scored = await self._asked(item, shown)
        else:
            scored = Scored({self._measure: self._computed(item, shown)})
        return replace(scored, seconds=time.monotonic() - start)

    def _shown(self, texts: NeuronTexts) -> list[Shown]:
        """Drawn once for all explanations of a neuron."""
        if texts not in self._drawn:
            self._drawn[texts] = self._draw(texts, self._tools.design)
        return self._drawn[texts]

    async def _asked(self, item: Item, shown: Sequence[Shown]) -> Scored:
        read = await all_of(
            ask_and_read(self._session, request, partial(_verdicts, n=len(batch)), again=i in item.again)
            for i, (request, batch) in enumerate(zip(self._requests(item, shown), _batches(shown), strict=True))
        )
        failed = [one.found for one in read if isinstance(one.found, Failed)]
        answers: list[bool | None] = []
        for one, batch in zip(read, _batches(shown), strict=True):
            answers += [None] * len(batch) if isinstance(one.found, Failed) else one.found
        usage = usage_of([one.answer for one in read])
        is_own = item.control == "own"
        return Scored(
            {self._measure: accuracy(shown, answers, Scoring(item.at, self._tools.design, has_interval=is_own))},
            statuses=[one.found.status if isinstance(one.found, Failed) else "ok" for one in read],
            reason=failed[0].reason if failed else "",
            examples=[_example(s, a) for s, a in zip(shown, answers, strict=True)] if is_own else (),
            prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cost=usage.cost,
            answered_by=usage.answered_by,
        )  # fmt: skip

    def _is_asked(self, item: Item, shown: Sequence[Shown]) -> bool:
        return item.control not in _COMPUTED and enough(shown, self._tools.design)

    def _requests(self, item: Item, shown: Sequence[Shown]) -> list[ChatRequest]:
        seed = self._tools.design.seed
        return [
            ChatRequest(self._prompt.messages(item.said.text, batch), _MAX_TOKENS, 0.0, seed)
            for batch in _batches(shown)
        ]

    def _computed(self, item: Item, shown: Sequence[Shown]) -> Measured:
        scoring = Scoring(item.at, self._tools.design, has_interval=False)
        if not enough(shown, self._tools.design):
            return unmeasured(shown, TOO_FEW)
        if item.control == "constant":
            return accuracy(shown, [True] * len(shown), scoring)
        if item.control == "ceiling":
            return accuracy(shown, [one.label for one in shown], scoring)
        rule = rule_of(self._tools.records, item.at)
        if rule is None:
            return unmeasured(shown, Undefined.NOT_SIMULATED.value)
        return accuracy(shown, [self._by_rule(rule, one) for one in shown], scoring)


def _batches(shown: Sequence[Shown]) -> list[Sequence[Shown]]:
    return [shown[i : i + PER_REQUEST] for i in range(0, len(shown), PER_REQUEST)]


def _verdicts(answer: Answer, n: int) -> list[bool] | Failed:
    if answer.status != "ok":
        return Failed(answer.status, answer.reason)
    if is_refusal(answer.text):
        return Failed("refused", "the answer is a refusal")
    try:
        return read_verdicts(answer.text, n)
    except NotJson as e:
        return Failed("unparsable", str(e))


def _example(shown: Shown, answer: bool | None) -> dict[str, Any]:
    marks = {"marks": list(shown.marks)} if shown.marks else {}
    verdict = None if answer is None else int(answer)
    return {"window": shown.text.window, "label": int(shown.label), "answer": verdict} | marks
