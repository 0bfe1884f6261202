"""What the flags of `--mode effect` ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from neuron_signatures.analysis.attribution.targets import TargetRequest
from neuron_signatures.interventions.choice import neurons
from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.errors import UsageError

EffectKind = Literal["ablate", "flip", "set", "scale", "add", "patch"]
NEED_VALUE = ("set", "scale", "add")


@dataclass(frozen=True)
class EffectRequest:
    """`value` is for set, scale and add; `reference` for ablate; one of the sources for patch."""

    prompt: str
    target: TargetRequest
    neurons: neurons.Request
    kind: EffectKind
    value: float | None
    positions: str
    source_prompt: str | None
    source_text: str | None
    reference: str | None
    min_mean_tokens: int
    overrides: ModelOverrides
    n_random: int
    seed: int
    batch: int
    neutral: Neutral
    dry_run: bool

    def check(self) -> None:
        """Raise `UsageError` for flags that do not fit the kind of edit."""
        kind = f"--edit {self.kind}"
        if self.kind in NEED_VALUE and self.value is None:
            raise UsageError(f"{kind} needs a value", next_step="Give --value X")
        if self.kind not in NEED_VALUE and self.value is not None:
            raise UsageError(f"has no effect with {kind}", where="--value", next_step=f"Use {', '.join(NEED_VALUE)}")
        sources = [s for s in (self.source_prompt, self.source_text) if s is not None]
        if self.kind == "patch" and len(sources) != 1:
            what = "no source" if not sources else "two sources"
            raise UsageError(what, where=kind, next_step="Give --source_prompt ID or --source_text TEXT")
        if self.kind != "patch" and sources:
            flag = "--source_prompt" if self.source_prompt is not None else "--source_text"
            raise UsageError(f"has no effect with {kind}", where=flag, next_step="Use --edit patch")
        if self.kind != "ablate" and self.reference is not None:
            raise UsageError(f"has no effect with {kind}", where="--reference", next_step="Use --edit ablate")
