"""The simulator `logits`: a local model's expected activation at every token of a window, from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.llm.local import Continuation, LocalClient
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.scoring.simulators.base import Said, Simulated, Usage
from neuron_signatures.scoring.simulators.logit_rows import VERSION, open_layout
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

if TYPE_CHECKING:
    from jaxtyping import Float32


class LogitsSimulator:
    """At each token the mean of the values 0 to `levels`, weighted by the probabilities that the model gives them.

    The weights are renormalised over the values. A window of the model's own tokenizer keeps its token ids; of another
    tokenizer its tokens are encoded again, each on its own.
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
        room = self._client.room_after(len(prefix))
        fits = [i for i, row in enumerate(rows) if room is None or len(row.token_ids) <= room]
        found = [_too_long(len(prefix) + len(row.token_ids), self._client) for row in rows]
        try:
            read = await self._client.candidate_logprobs(
                prefix, [rows[i] for i in fits], self._layout.values, shared=min(self._n_shared, len(prefix) - 1)
            )
        except EnvironmentProblem as e:  # a window that does not fit into memory
            return [Simulated(None, "api_error", str(e))] * len(texts), Usage(answered_by=self._client.answered_as)
        for i, logprobs in zip(fits, read, strict=True):
            found[i] = _expected(logprobs)
        n_tokens = (len(prefix) if fits else 0) + sum(len(rows[i].token_ids) for i in fits)
        return found, Usage(prompt_tokens=n_tokens, answered_by=self._client.answered_as)

    def requests_for(self, said: Said, texts: Sequence[Text]) -> list[Continuation]:
        """What the model reads after the prefix, for each window."""
        return [self._layout.rows(text.tokens, text.token_ids if self._has_ids else ()) for text in texts]


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
