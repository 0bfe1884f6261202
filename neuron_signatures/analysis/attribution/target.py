"""What an attribution explains, once resolved: a token at a position, with or without a foil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TargetMode = Literal["top1_logit", "last_token", "next_token"]
TargetFunction = Literal["pre_cap_logit", "logit", "logprob"]


@dataclass(frozen=True)
class Target:
    """f = `function` of `token_id` at `pos`, where the model predicts the token after `pos`.

    With a foil, f is the difference of the function between the two tokens: of z for `pre_cap_logit`, of the
    capped logits for `logit`, of log probabilities (the same as of capped logits) for `logprob`.
    """

    pos: int
    token_id: int
    foil_id: int | None
    function: TargetFunction
    mode: TargetMode

    @property
    def token_ids(self) -> list[int]:
        """The target, and the foil if there is one."""
        return [self.token_id] if self.foil_id is None else [self.token_id, self.foil_id]
