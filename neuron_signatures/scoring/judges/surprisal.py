"""`surprisal`: does the explanation make the windows in which the neuron is active easier to predict than others?

The loss of a window is the mean negative log-probability, in nats, of its tokens that count, by a local language model
after a few words of introduction. The reduction is the loss without the explanation in them less the loss with it. As
the surprisal scorer of delphi (https://github.com/EleutherAI/delphi).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from neuron_signatures.llm.fencing import fenced
from neuron_signatures.llm.local import LocalClient
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.judges.judged import Scoring, ranking, unmeasured
from neuron_signatures.scoring.judges.prompt import NO_EXPLANATION
from neuron_signatures.scoring.judges.windows import PER_CLASS, Shown, enough, plain_examples
from neuron_signatures.scoring.scorer import TOO_FEW, Item, Scored
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

WITHOUT: Final = "Text:\n"
WITH: Final = "The text below contains the following: {explanation}\n\nText:\n"
_MEASURE: Final = "auroc/surprisal"
_KEPT: Final = 64
"""Neurons whose losses without an explanation are kept: all explanations of a neuron are compared with them."""
_REASON: Final = 500
_DIGITS: Final = 6


class Pass(NamedTuple):
    """A window that the local model reads after an explanation."""

    explanation: str
    window: int


class Row(NamedTuple):
    """A window as tokens of the local model, and the places of those that count."""

    token_ids: tuple[int, ...]
    at: tuple[int, ...]


class Loss(NamedTuple):
    """Of a window; `value` is None unless the status is ok."""

    value: float | None
    status: Status = "ok"
    reason: str = ""


class SurprisalScorer:
    """AUROC of the reduction for active windows against silent ones, which are those of detection; .5 is chance.

    A window without a loss, for instance since it and the explanation exceed the context, is left out. `constant`
    reduces every loss by the same, `ceiling` that of active windows only.
    """

    name: Scorer = "surprisal"
    prompt_version: str | None = "surprisal-1"
    controls: frozenset[Control] = frozenset(("own", "other", "shuffled", "empty", "text", "constant", "ceiling"))
    n_others = 0

    def __init__(self, tools: Tools) -> None:
        """Raises `UsageError` without a local model."""
        client = tools.session.client if tools.session is not None else None
        if not isinstance(client, LocalClient):
            next_step = "Name one with --llm local:NAME"
            raise UsageError(
                "the scorer surprisal needs a local language model", where="--scorers", next_step=next_step
            )
        from neuron_signatures.models.tokens import tokenizer_sha256

        self._tools, self._client = tools, client
        tokenizer = client.chat_model.template.tokenizer
        self._has_ids = tools.run.manifest.tokenizer_sha256 == tokenizer_sha256(tokenizer)
        self._without: OrderedDict[tuple[Row, ...], list[Loss]] = OrderedDict()
        self._reading = asyncio.Lock()

    def settings(self) -> dict[str, Any]:
        """What a continued log must share."""
        return {"prompt_version": self.prompt_version, "windows_per_class": PER_CLASS}

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[Pass]:
        """One pass per window; those without the explanation are shared by all items of a neuron."""
        shown = plain_examples(texts, self._tools.design)
        if not enough(shown, self._tools.design) or item.control in ("constant", "ceiling"):
            return []
        return [Pass(item.said.text, one.text.window) for one in shown]

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        start = time.monotonic()
        shown = plain_examples(texts, self._tools.design)
        if not enough(shown, self._tools.design):
            return Scored({_MEASURE: unmeasured(shown, TOO_FEW)})
        is_own = item.control == "own"
        scoring = Scoring(item.at, self._tools.design, has_interval=is_own)
        if item.control in ("constant", "ceiling"):
            values = [float(s.label) if item.control == "ceiling" else 0.0 for s in shown]
            return Scored({_MEASURE: ranking(shown, values, scoring)})
        rows = tuple(self._row(one.text) for one in shown)
        without, prefix = await self._losses_without(rows), self._prefix(_introduction(item.said.text))
        losses = [_worse(a, b) for a, b in zip(without, await self._losses(prefix, rows), strict=True)]
        reductions = [_reduction(a, b) for a, b in zip(without, losses, strict=True)]
        return Scored(
            {_MEASURE: ranking(shown, reductions, scoring)},
            statuses=[loss.status for loss in losses],
            reason=next((loss.reason for loss in losses if loss.status != "ok"), ""),
            examples=[_example(s, a, b) for s, a, b in zip(shown, without, losses, strict=True)] if is_own else (),
            prompt_tokens=len(prefix) + sum(len(row.token_ids) for row in rows),
            answered_by=self._client.answered_as, seconds=time.monotonic() - start,
        )  # fmt: skip

    async def _losses_without(self, rows: tuple[Row, ...]) -> list[Loss]:
        """Read once for all explanations of a neuron, always together: the last digits depend on the batch."""
        async with self._reading:
            if rows not in self._without:
                self._without[rows] = await self._losses(self._prefix(WITHOUT), rows)
                while len(self._without) > _KEPT:
                    self._without.popitem(last=False)
            self._without.move_to_end(rows)
            return self._without[rows]

    async def _losses(self, prefix: tuple[int, ...], rows: Sequence[Row]) -> list[Loss]:
        """The mean loss of each row at the places that count."""
        room = self._client.room_after(len(prefix))
        fits = [room is None or len(row.token_ids) <= room for row in rows]
        short = [row.token_ids for row, ok in zip(rows, fits, strict=True) if ok]
        try:
            read = await self._client.token_losses(prefix, short) if short else []
        except EnvironmentProblem as e:
            return [Loss(None, "api_error", str(e)[:_REASON])] * len(rows)
        found = iter(read)
        too_long = Loss(None, "too_long", "the explanation and the window exceed the context of the model")
        return [_mean(next(found), row) if ok else too_long for row, ok in zip(rows, fits, strict=True)]

    def _prefix(self, introduction: str) -> tuple[int, ...]:
        template = self._client.chat_model.template
        bos = template.tokenizer.bos_token_id
        return tuple([] if bos is None else [int(bos)]) + tuple(template.encode_plain(introduction))

    def _row(self, text: Text) -> Row:
        """With the token ids of the subject, if its tokenizer is that of the local model; else encoded again."""
        if self._has_ids and text.token_ids:
            return Row(text.token_ids, tuple(np.flatnonzero(text.counts).tolist()))
        first = int(np.argmax(text.counts))
        before, counted = (self._encoded(tokens) for tokens in (text.tokens[:first], text.tokens[first:]))
        return Row((*before, *counted), tuple(range(len(before), len(before) + len(counted))))

    def _encoded(self, tokens: Sequence[str]) -> list[int]:
        """Without unpaired surrogates, which a tokenizer refuses."""
        text = "".join(tokens).encode("utf-8", "replace").decode("utf-8")
        return self._client.chat_model.template.encode_plain(text)


def _introduction(explanation: str) -> str:
    return WITH.format(explanation=fenced(explanation.strip()) or NO_EXPLANATION)


def _mean(losses: np.ndarray, row: Row) -> Loss:
    value = float(losses[list(row.at)].astype(np.float64).mean())
    return Loss(value) if np.isfinite(value) else Loss(None, "api_error", "the model's losses are not finite")


def _worse(without: Loss, loss: Loss) -> Loss:
    """The loss with the explanation, or the failure of either."""
    return loss if without.status == "ok" else without


def _reduction(without: Loss, loss: Loss) -> float | None:
    return None if without.value is None or loss.value is None else without.value - loss.value


def _example(shown: Shown, without: Loss, loss: Loss) -> dict[str, Any]:
    return {
        "window": shown.text.window, "label": int(shown.label), "loss": _rounded(without.value),
        "loss_with": _rounded(loss.value),
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
