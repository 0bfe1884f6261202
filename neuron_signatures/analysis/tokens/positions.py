"""The tokens of a run that statistics count: without the BOS, whose large activations say little about the text."""

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
    """Ids of prompts without a counted token, such as a BOS alone."""
    bos_excluded: bool
    bos_rule: str
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


def counted_prompts(run: Run, *, first_pos: int, include_bos: bool) -> Counted:
    """The prompts of `run` with their positions from `first_pos` on, without the BOS unless `include_bos`.

    `Run.begins_with_bos` decides whether a prompt has a BOS. Raises `UsageError` if no token is left.
    """
    m = run.manifest
    found = [run.begins_with_bos(p) for p in m.prompts]
    starts = [max(first_pos, int(bos and not include_bos)) for bos in found]
    prompts = [CountedPrompt(p, s) for p, s in zip(m.prompts, starts, strict=True) if s < p.seq_len]
    if not prompts:
        what = "no prompt has a token that counts"
        raise UsageError(what, where=str(run.path), next_step="Use --include_bos, or a smaller --first_pos")
    skipped = [p.probe_id for p, s in zip(m.prompts, starts, strict=True) if s >= p.seq_len]
    return Counted(prompts, skipped, not include_bos, _rule(m, include_bos), sum(found) * (not include_bos))


def _rule(m: Manifest, include_bos: bool) -> str:
    if include_bos:
        return "every token counts, the BOS too"
    if m.bos_token_id is None and m.bos_policy == UNRECORDED:
        if m.prepend_bos:
            return "position 0 of every prompt is left out: prepend_bos is true"
        return "nothing is left out: prepend_bos is false and no BOS id is recorded"
    if m.bos_token_id is None:
        return "nothing is left out: the tokenizer has no BOS"
    return f"position 0 is left out where its token id is {m.bos_token_id}"
