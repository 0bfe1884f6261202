"""What the flags of `--mode swap` ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.interventions.swap.select import Limits
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.errors import UsageError


@dataclass(frozen=True)
class SwapRequest:
    """One pair (`prompt`, and a source) or many (`pairs_json`). `positions` None are those that matter.

    `held_out` is a share of the entities of `pairs_json`, or a file of pairs.
    """

    prompt: str | None
    source_prompt: str | None
    source_text: str | None
    pairs_json: Path | None
    held_out: float | Path | None
    wrong_source: str | None
    positions: str | None
    answers: tuple[str | None, str | None]
    """Of the destination and the source, if they are not what the model says."""
    limits: Limits
    overrides: ModelOverrides
    n_random: int
    seed: int
    neutral: Neutral
    dry_run: bool

    def check(self) -> None:
        """Raise `UsageError` for flags that do not fit together."""
        sources = [s for s in (self.source_prompt, self.source_text) if s is not None]
        if self.pairs_json is None:
            if len(sources) != 1:
                what = "no source" if not sources else "two sources"
                next_step = "Give --source_text TEXT, --source_prompt ID or --pairs_json FILE"
                raise UsageError(what, where="--mode swap", next_step=next_step)
            if isinstance(self.held_out, float):
                what = f"a share of the entities ({self.held_out:g}) needs --pairs_json with entities"
                raise UsageError(what, where="--held_out", next_step="Give a file of pairs")
            return
        for flag, value in (
            ("--prompt_id", self.prompt), ("--source_prompt", self.source_prompt), ("--source_text", self.source_text),
            ("--wrong_source", self.wrong_source), ("--target_token", self.answers[1]),
            ("--foil_token", self.answers[0]),
        ):  # fmt: skip
            if value is not None:
                raise UsageError("has no effect with --pairs_json, which has the prompts", where=flag)
        if self.positions not in (None, "all"):
            raise UsageError("numbers have no meaning for several pairs", where="--positions", next_step="Use all")
