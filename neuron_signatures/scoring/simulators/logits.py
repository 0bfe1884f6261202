"""The simulator `logits`: a local model's expected activation at every token of a window, from one forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from neuron_signatures.llm.local import Continuation, LocalClient
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.scoring.simulators.base import Said, Simulated, Usage
from neuron_signatures.scoring.simulators.logit_rows import VERSION, open_layout
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

if TYPE_CHECKING:
    from jaxtyping import Float32

MOST_KEPT: Final = 100_000
"""Predictions of windows that are kept between calls (60 MB for windows of 128 tokens)."""


class LogitsSimulator:
    """At each token the mean of the values 0 to `levels`, weighted by the probabilities that the model gives them.

    The weights are renormalised over the values. A window of the model's own tokenizer keeps its token ids; of another
    tokenizer its tokens are encoded again, each on its own. What an explanation predicts for a window is kept: the
    neurons of a run share the windows of its sample, and explanations are scored on other neurons too. Predictions
    depend on the explanation and the window alone, but for rounding (about 1e-6, see `models.chat.generation`).
    """

    name = "logits"
    lowest: float | None = 0.0

    def __init__(self, tools: Tools) -> None:
        """Raises `UsageError` for a model that is not in this process, and one whose tokenizer splits numbers."""
        from neuron_signatures.models.tokens import tokenizer_sha256

        client = None if tools.session is None else tools.session.client
        if not isinstance(client, LocalClient):
            raise UsageError(
                "the scorer logits reads the logits of its prompt, which only a model in this process gives",
                where="--scorers", next_step="Use --llm local:NAME, or the scorer top_logprobs or json",
            )  # fmt: skip
        template = client.chat_model.template
        self._client = client
        self._layout = open_layout(template, where=f"model {client.model}")
        self._n_shared = self._layout.n_shared()
        self._kept: dict[bytes, Simulated] = {}
        self._has_ids = tools.run.manifest.tokenizer_sha256 == tokenizer_sha256(template.tokenizer)
        self.levels: int | None = self._layout.levels
        self.highest: float | None = float(self._layout.levels)
        self.prompt_version: str | None = (
            f"{VERSION}-0to{self._layout.levels}-{self._layout.separator.name}{'-ids' if self._has_ids else ''}"
        )

    async def simulate_windows(
        self, said: Said, texts: Sequence[Text], *, again: frozenset[int] = frozenset()
    ) -> tuple[list[Simulated], Usage]:
        """As `WindowSimulator`. `again` makes no difference: the same window has the same prediction."""
        prefix, rows = self._layout.prefix(said.text), self.requests_for(said, texts)
        keys = [_key(said, row) for row in rows]
        room = self._client.room_after(len(prefix))
        fits = {k: row for k, row in zip(keys, rows, strict=True) if room is None or len(row.token_ids) <= room}
        new = {k: row for k, row in fits.items() if k not in self._kept}
        n_tokens = sum(len(fits[k].token_ids) for k in keys if k in fits)
        usage = Usage((len(prefix) if fits else 0) + n_tokens, answered_by=self._client.answered_as)
        try:
            read = await self._client.candidate_logprobs(
                prefix, list(new.values()), self._layout.values, shared=min(self._n_shared, len(prefix) - 1)
            )
        except EnvironmentProblem as e:  # a window that does not fit into memory
            return [Simulated(None, "api_error", str(e))] * len(texts), usage
        found = {k: self._kept[k] for k in fits if k in self._kept} | dict(zip(new, map(_expected, read), strict=True))
        self._keep(found)
        return [
            found[k] if k in found else _too_long(len(prefix) + len(row.token_ids), self._client)
            for k, row in zip(keys, rows, strict=True)
        ], usage

    def requests_for(self, said: Said, texts: Sequence[Text]) -> list[Continuation]:
        """What the model reads after the prefix, for each window."""
        return [self._layout.rows(text.tokens, text.token_ids if self._has_ids else ()) for text in texts]

    def _keep(self, found: dict[bytes, Simulated]) -> None:
        self._kept |= found
        for oldest in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[oldest]


def _key(said: Said, row: Continuation) -> bytes:
    return hashlib.sha256(repr((said.text, row.token_ids)).encode()).digest()


def _expected(logprobs: Float32[np.ndarray, "pos value"]) -> Simulated:
    """The mean value at each position."""
    if np.isnan(logprobs).any() or not np.isfinite(logprobs.max(axis=1, initial=-np.inf)).all():
        return Simulated(None, "api_error", "the model's logits are not finite numbers; use another dtype")
    weights = np.exp(logprobs.astype(np.float64) - logprobs.max(axis=1, keepdims=True, initial=-np.inf))
    mean = weights @ np.arange(logprobs.shape[1]) / weights.sum(axis=1)
    return Simulated(mean.astype(np.float32))


def _too_long(n_tokens: int, client: LocalClient) -> Simulated:
    return Simulated(
        None, "too_long", f"the prompt has {n_tokens} tokens, the model's context {client.chat_model.context}"
    )  # fmt: skip
