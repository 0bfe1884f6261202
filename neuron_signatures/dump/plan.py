"""Planning a dump, before weights are loaded or anything is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.dump.config import DumpConfig
from neuron_signatures.dump.prompts import Prompt, prompts_sha256
from neuron_signatures.dump.tokenized import TokenizedPrompt, tokenize
from neuron_signatures.models.identity import ModelIdentity, model_identity
from neuron_signatures.models.info import ModelInfo, model_info
from neuron_signatures.models.load import find_device, load_config, load_tokenizer
from neuron_signatures.models.tokens import adds_bos, wants_bos
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.manifest import DTYPE_BYTES, Dtype
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.shards import plan_shards


@dataclass(frozen=True)
class DumpPlan:
    """Everything about a dump that is known before weights are loaded."""

    config: DumpConfig
    prompts: list[TokenizedPrompt]
    info: ModelInfo
    identity: ModelIdentity
    layers: list[int]
    shards: list[list[int]]
    tokenizer: TokenizerBase
    settings: dict[str, Any]
    """What must be equal when a stopped dump is resumed: the flags that change the result, the model, the prompts."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensors on disk, without headers and manifest."""
        return sum(self.bytes_of(i) for i in range(len(self.prompts)))

    def bytes_of(self, i: int) -> int:
        return prompt_bytes(self.prompts[i].seq_len, len(self.layers), self.info.d_mlp, self.config.save_dtype)

    def bos_notice(self) -> str | None:
        """A notice about BOS if the tokenizer itself adds none; else None."""
        bos, texts = self.tokenizer.bos_token, [p for p in self.prompts if p.prompt.text is not None]
        if adds_bos(self.tokenizer) or self.config.bos == "off" or not texts:
            return None
        if bos is None:
            return "the tokenizer has no BOS, so texts begin without one"
        if self.config.bos == "tokenizer":
            return f"the tokenizer adds no BOS, so texts begin without {bos}"
        return f"the tokenizer adds no BOS; {bos} is put in front of every text (--bos tokenizer leaves it out)"

    def file_of(self, shard: int) -> str:
        return activation_file(shard, len(self.shards), self.config.save_format)


def plan_dump(config: DumpConfig, prompts: list[Prompt]) -> DumpPlan:
    """Read the model's config and tokenizer, and plan the dump. Writes nothing and loads no weights.

    Raises `UsageError` for invalid prompts or flags, `EnvironmentProblem` if the model is unavailable.
    """
    device = find_device(config.model.device)
    hf_config, tokenizer = load_config(config.model), load_tokenizer(config.model)
    info = model_info(config.model, hf_config, backend=config.backend)
    layers = parse_layers(config.layers, info.layers)
    prepend_bos = wants_bos(tokenizer, config.bos)
    tokenized = [
        tokenize(tokenizer, p, prepend_bos=prepend_bos, context=info.context, truncate=config.truncate) for p in prompts
    ]
    identity = model_identity(config.model, hf_config, tokenizer)
    if config.backend == "transformer_lens" and identity.quantization.startswith("checkpoint:"):
        _refuse_quantized(config, identity.quantization)
    sizes = [prompt_bytes(p.seq_len, len(layers), info.d_mlp, config.save_dtype) for p in tokenized]
    return DumpPlan(
        config=config,
        prompts=tokenized,
        info=info,
        identity=identity,
        layers=layers,
        shards=plan_shards(sizes, config.shard_bytes),
        tokenizer=tokenizer,
        settings={
            "prepend_bos": prepend_bos,
            **config.must_agree(),
            "layers": layers,
            **asdict(identity),
            "n_prompts": len(prompts),
            "prompts_sha256": prompts_sha256(prompts),
            "device": device.type,
        },
    )


def _refuse_quantized(config: DumpConfig, quantization: str) -> None:
    """GGUF files are dequantised when they are loaded; the bridge cannot split weights that stay quantised."""
    if not quantization.startswith("checkpoint:gguf"):
        raise UsageError(
            f"its weights are quantised ({quantization.removeprefix('checkpoint:')}), "
            "which --backend transformer_lens does not support",
            where=f"model {config.model.name}",
            next_step="Use --backend transformers",
        )


def prompt_bytes(seq_len: int, n_layers: int, d_mlp: int, dtype: Dtype) -> int:
    """Bytes of one prompt's tensor `[n_layers, seq_len, d_mlp]` on disk."""
    return n_layers * seq_len * d_mlp * DTYPE_BYTES[dtype]


def token_bytes(n_layers: int, d_mlp: int, d_model: int, save_dtype: Dtype, itemsize: int) -> int:
    """Device memory per token: activations of `n_layers`, and a generous working set of one layer, with values of
    `itemsize` bytes."""
    return n_layers * d_mlp * DTYPE_BYTES[save_dtype] + (4 * d_mlp + 16 * d_model) * itemsize
