"""The tokens of a run that statistics count: without the first position of each prompt, whether or not it is a BOS.

Models collect attention at the first position and give it massive activations whatever its token is. On SmolLM2-135M
without BOS (40 probe prompts), the L2 norm of all MLP activations is 3,922 at position 0 (median) and 136 at the other
positions (median; at most 260).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import UNRECORDED, Manifest, PromptRecord
from neuron_signatures.runs.run import Run


@dataclass(frozen=True)
class CountedPrompt:
    """A prompt and its first counted position; all later positions are counted too."""

    prompt: PromptRecord
    start: int

    @property
    def n_tokens(self) -> int:
        return self.prompt.seq_len - self.start


@dataclass(frozen=True)
class Counted:
    """The counted prompts of a run, and what is excluded."""

    prompts: list[CountedPrompt]
    skipped: list[str]
    """Ids of prompts without a counted token, such as prompts of one token."""
    bos_excluded: bool
    bos_rule: str
    """The rule in words."""
    n_bos: int
    """Number of prompts whose BOS is excluded."""

    @property
    def n_tokens(self) -> int:
        return sum(p.n_tokens for p in self.prompts)

    def record(self) -> dict[str, Any]:
        """The fields of the stage record."""
        return {
            "bos_excluded": self.bos_excluded,
            "bos_rule": self.bos_rule,
            "n_bos_excluded": self.n_bos,
            "n_prompts": len(self.prompts),
            "n_tokens": self.n_tokens,
            "skipped_prompts": self.skipped,
        }

    def warnings(self) -> list[str]:
        if not self.skipped:
            return []
        return [f"{len(self.skipped)} prompts have no token that counts and are left out"]


def counted_prompts(run: Run, *, first_pos: int | None, include_bos: bool) -> Counted:
    """The prompts of `run` with their positions from `first_pos` on.

    None: from position 1 on. An explicit 0 counts position 0 where it is no BOS (`Run.begins_with_bos`). With
    `include_bos` the BOS counts too, and None stands for 0. Raises `UsageError` if no token is left.
    """
    m = run.manifest
    first = first_pos if first_pos is not None else int(not include_bos)
    found = [run.begins_with_bos(p) for p in m.prompts]
    starts = [max(first, int(bos and not include_bos)) for bos in found]
    prompts = [CountedPrompt(p, s) for p, s in zip(m.prompts, starts, strict=True) if s < p.seq_len]
    if not prompts:
        what = "no prompt has a token that counts"
        raise UsageError(what, where=str(run.path), next_step="Use --include_bos, or a smaller --first_pos")
    skipped = [p.probe_id for p, s in zip(m.prompts, starts, strict=True) if s >= p.seq_len]
    bos_excluded = not include_bos or first > 0
    return Counted(prompts, skipped, bos_excluded, _rule(m, first, include_bos), sum(found) * bos_excluded)


def _rule(m: Manifest, first: int, include_bos: bool) -> str:
    if first == 1:
        return "position 0 of every prompt is left out, BOS or not"
    if first > 1:
        return f"positions before {first} are left out"
    if include_bos:
        return "every token counts, the BOS too"
    if m.bos_token_id is None and m.bos_policy == UNRECORDED:
        if m.prepend_bos:
            return "position 0 of every prompt is left out: prepend_bos is true"
        return "nothing is left out: prepend_bos is false and no BOS id is recorded"
    if m.bos_token_id is None:
        return "nothing is left out: the tokenizer has no BOS"
    return f"position 0 is left out where its token id is {m.bos_token_id}"
