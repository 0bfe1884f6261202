"""How neurons are explained: what a set of explanations was made by, and must be continued by."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neuron_signatures.llm.choose import short_name
from neuron_signatures.runs.explanations.names import Explainer
from neuron_signatures.runs.records.names import NeuronPole

SelectBy = Literal["rule", "embedding"]


@dataclass(frozen=True)
class Method:
    """The best of `n_samples` answers to each prompt is revised `revise` times.

    `modes`: at most so many clusters of the strongest windows are explained each on its own. `max_tokens` of an answer;
    None: the explainer's.
    """

    explainer: Explainer
    n_samples: int = 1
    revise: int = 0
    modes: int = 1
    select_by: SelectBy = "embedding"
    n_windows: int = 10
    max_prompt_tokens: int = 4000
    temperature: float = 1.0
    max_tokens: int | None = None
    seed: int = 0
    near_by_embedding: bool = False
    """Whether hard negatives of the prompt include silent windows that an embedding finds to be like the strongest."""

    @property
    def chooses(self) -> bool:
        """Whether one of several explanations of a pole is chosen."""
        return self.n_samples > 1 or self.revise > 0

    def settings(self) -> dict[str, Any]:
        """What a continued set must share. The seed and the sizes count, because prompts depend on them."""
        found = asdict(self)
        if self.explainer == "lookup":
            return {"explainer": "lookup"}
        if not self.chooses:
            del found["select_by"]
        return found

    def request_seed(self, at: NeuronPole, *, mode: int | None, sample: int, revision: int) -> int:
        """A number of 31 bits: other samples of the same prompt are other requests."""
        name = f"{self.seed} {at.label} {mode} {sample} {revision}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def default_set_name(explainer: Explainer, llm: str) -> str:
    """`lookup`, or the explainer and the model of `--llm`: `contrastive__gpt-5-mini`."""
    if explainer == "lookup":
        return "lookup"
    kind, _, model = llm.partition(":")
    return f"{explainer}__{short_name(model) or kind}"
