"""What `--mode classify` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.choose import LlmSpec, short_name
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.skills.classify.items import Pairs
from neuron_signatures.skills.classify.prompt import PROMPT_VERSION, prompt_sha256
from neuron_signatures.skills.explain.choice import UnitChoice


@dataclass(frozen=True)
class ClassifyRequest:
    """`llms` may be empty. `descriptions` replace those of the classes that they name."""

    run_dir: Path
    choice: UnitChoice
    llms: tuple[LlmSpec, ...] = ()
    samples: int = 2
    pairs: Pairs = "all"
    controls: bool = False
    descriptions: Mapping[str, str] | None = None
    hand_labels: Path | None = None
    max_tokens: int = 100
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    price_file: Path | None = None
    use_cache: bool = True
    retry_failed: bool = False
    device: str = "auto"
    flags_given: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """What decides the result."""
        found = self.choice.settings()
        found = {name: found[name] for name in ("sources", "sites", "layers", "classes") if name in found}
        return found | {
            "llms": [rater_name(spec) for spec in self.llms], "samples": self.samples, "pairs": self.pairs,
            "controls": self.controls, "class_descriptions": None if self.descriptions is None else "a file",
            "hand_labels": None if self.hand_labels is None else self.hand_labels.name, "max_tokens": self.max_tokens,
            "seed": self.seed, "prompt_version": PROMPT_VERSION, "prompt_sha256": prompt_sha256(), "temperature": 0.0,
        }  # fmt: skip


def rater_name(spec: LlmSpec) -> str:
    """Such as `local:smollm2`: without the folders of a path."""
    return f"{spec.kind}:{short_name(spec.model) or 'model'}"


def check_raters(specs: tuple[LlmSpec, ...]) -> None:
    """Raise `UsageError` if two models have the same name."""
    names = [rater_name(spec) for spec in specs]
    if len(set(names)) < len(names):
        raise UsageError(f"{names[0]} is there twice", where="--llm", next_step="For more samples give --samples")
