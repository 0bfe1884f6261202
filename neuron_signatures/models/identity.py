"""Identity of a model and its tokenizer, so that a later stage can check that it loads the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.fingerprint import weights_fingerprint
from neuron_signatures.models.hub import Source, find_source, resolved_commit
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import tokenizer_sha256


@dataclass(frozen=True)
class ModelIdentity:
    """`revision` is the loaded commit, or None for a folder.

    `weights_fingerprint` is None for a Hub model (the commit identifies it), `gguf:<sha256>` or
    `gguf-sampled:<sha256>` for a GGUF file, and otherwise `bytes:<sha256>` or `sampled:<sha256>` (see
    `files_fingerprint`).
    `quantization` is `none`, `8bit`, `4bit`, or `checkpoint:<method>` for weights published in quantised form
    (`checkpoint:gguf-Q4_1`).
    """

    revision: str | None
    weights_fingerprint: str | None
    tokenizer_sha256: str
    architecture: str
    model_type: str
    quantization: str


def model_identity(spec: ModelSpec, config: PretrainedConfig, tokenizer: TokenizerBase) -> ModelIdentity:
    """Identity of the model of `spec`, whose weights need not be loaded."""
    place = find_source(spec)
    return ModelIdentity(
        revision=resolved_commit(spec),
        weights_fingerprint=_fingerprint(place),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        architecture=(config.architectures or ["unknown"])[0],
        model_type=config.model_type,
        quantization=quantization_of(spec, config),
    )


def quantization_of(spec: ModelSpec, config: PretrainedConfig) -> str:
    """As `ModelIdentity.quantization`."""
    if spec.quantization != "none":
        return spec.quantization
    if (place := find_source(spec)).gguf is not None:
        return f"checkpoint:gguf-{place.gguf.quantization}"
    published = getattr(config, "quantization_config", None)
    if published is None:
        return "none"
    method = published.get("quant_method") if isinstance(published, dict) else published.quant_method
    return f"checkpoint:{method}"


def _fingerprint(place: Source) -> str | None:
    if place.gguf is not None:
        return place.gguf.fingerprint
    return weights_fingerprint(Path(place.path)) if place.is_local else None
