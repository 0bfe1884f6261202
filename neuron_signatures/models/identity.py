"""What a model and its tokenizer are, so that a later stage can tell whether it has the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.hub import find_source, resolved_commit
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.spec import Dtype, ModelSpec
from neuron_signatures.models.tokens import tokenizer_sha256

# Up to here every byte of a local checkpoint is hashed (a second or two per gigabyte); beyond, samples.
FULL_HASH_BYTES: Final = 1_000_000_000
_BLOCK: Final = 1 << 20
_SAMPLES_PER_FILE: Final = 16


@dataclass(frozen=True)
class ModelIdentity:
    """`revision` is the commit that was loaded, None for a folder; `weights_fingerprint` is None for a Hub
    model, whose commit says it, and otherwise `bytes:<sha256>` or `sampled:<sha256>` (see
    `weights_fingerprint`). `attn_implementation` is None while no model is loaded. `quantization` is
    `none`, `8bit`, `4bit`, or `checkpoint:<method>` for weights published in quantised form.
    """

    name: str
    revision: str | None
    weights_fingerprint: str | None
    tokenizer_sha256: str
    architecture: str
    model_type: str
    attn_implementation: str | None
    dtype: Dtype
    quantization: str
    trust_remote_code: bool


def model_identity(
    source: LoadedModel | ModelSpec, config: PretrainedConfig, tokenizer: TokenizerBase
) -> ModelIdentity:
    """Identity of a loaded model, or of a spec before loading (a dry run, a check before an analysis)."""
    spec = source.spec if isinstance(source, LoadedModel) else source
    place = find_source(spec)
    return ModelIdentity(
        name=spec.name,
        revision=resolved_commit(spec),
        weights_fingerprint=weights_fingerprint(Path(place.path)) if place.is_local else None,
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        architecture=(config.architectures or ["unknown"])[0],
        model_type=config.model_type,
        attn_implementation=source.attn_implementation if isinstance(source, LoadedModel) else None,
        dtype=spec.dtype,
        quantization=_quantization(spec, config),
        trust_remote_code=spec.trust_remote_code,
    )


def weights_fingerprint(folder: Path, *, full_hash_bytes: int = FULL_HASH_BYTES) -> str:
    """Fingerprint of the weight files of a local checkpoint.

    `bytes:`: sha256 over names and all bytes. Above `full_hash_bytes` together, `sampled:`: over names,
    sizes and, per file, the first megabyte (which holds the safetensors header) and 16 more spread evenly;
    it tells fine-tunes apart, but not an edit between the samples.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    whole = sum(f.stat().st_size for f in files) <= full_hash_bytes
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            for block in _all_blocks(stream) if whole else _sample_blocks(stream, file.stat().st_size):
                digest.update(block)
    return f"{'bytes' if whole else 'sampled'}:{digest.hexdigest()}"


def _all_blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _sample_blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    last = max(size - _BLOCK, 0)
    for i in range(_SAMPLES_PER_FILE + 1):
        stream.seek(last * i // _SAMPLES_PER_FILE)
        yield stream.read(_BLOCK)


def _quantization(spec: ModelSpec, config: PretrainedConfig) -> str:
    published = getattr(config, "quantization_config", None)
    if spec.quantization != "none" or published is None:
        return spec.quantization
    method = published.get("quant_method") if isinstance(published, dict) else published.quant_method
    return f"checkpoint:{method}"
