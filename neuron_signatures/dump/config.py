"""The settings of a dump, as given by the flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.models.spec import BosRequest, Dtype, ModelSpec
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import Backend
from neuron_signatures.runs.tokens import encodable

SaveFormat = Literal["safetensors", "pt"]


@dataclass(frozen=True)
class DumpConfig:
    """The settings of one dump.

    `batch_size` None fits the batch to memory, `layers` None means all, `limit` None means no limit. `truncate` is the
    maximum number of tokens per prompt; 0 is the context of the model, and None refuses longer prompts.
    Raises `UsageError` for a backend that does not support the model's quantisation or placement.
    """

    model: ModelSpec
    backend: Backend
    prompts_json: Path | None
    single_prompt: str | None
    out_dir: Path
    save_dtype: Dtype
    save_format: SaveFormat
    shard_bytes: int
    bos: BosRequest
    batch_size: int | None
    layers: str | None
    limit: int | None
    truncate: int | None
    seed: int
    check_finite: bool
    resume: bool
    overwrite: bool
    quiet: bool
    flags_given: tuple[str, ...]

    def __post_init__(self) -> None:
        given = {"--quantization": self.model.quantization, "--device_map": self.model.device_map}
        for flag, value in given.items():
            if self.backend == "transformer_lens" and value not in (None, "none"):
                raise UsageError(
                    "not supported by --backend transformer_lens",
                    where=f"{flag} {value}",
                    next_step="Use --backend transformers",
                )

    @property
    def mode(self) -> Literal["new", "resume", "overwrite"]:
        """What may be in `out_dir`, as `runs.writer.Mode`."""
        return "resume" if self.resume else "overwrite" if self.overwrite else "new"

    @property
    def max_prompts(self) -> int | None:
        """Largest number of prompts per forward pass; None if only memory limits it."""
        return 1 if self.model.deterministic else self.batch_size

    @property
    def may_quantize(self) -> bool:
        """Whether a quantisation may be chosen. TransformerLens supports none."""
        return self.model.may_quantize and self.backend == "transformers"

    def must_agree(self) -> dict[str, Any]:
        """The settings that must be equal when a stopped dump is resumed."""
        return {
            "backend": self.backend,
            "model_name": encodable(self.model.name),
            "model_dtype": self.model.dtype,
            "quantization": self.model.quantization,
            "trust_remote_code": self.model.trust_remote_code,
            "save_dtype": self.save_dtype,
            "save_format": self.save_format,
            "shard_size": self.shard_bytes,
            "limit": self.limit,
            "truncate": self.truncate,
            "seed": self.seed,
            "check_finite": self.check_finite,
            "deterministic": self.model.deterministic or None,  # earlier runs have no such setting
        }
