"""Planning a dump, before weights are loaded or anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.dump.config import DumpConfig
from neuron_signatures.dump.prompts import Prompt, prompts_sha256
from neuron_signatures.dump.tokenized import TokenizedPrompt, tokenize
from neuron_signatures.models.fit import fit_to_memory, token_bytes
from neuron_signatures.models.identity import ModelIdentity, model_identity
from neuron_signatures.models.info import ModelInfo, model_info
from neuron_signatures.models.load import find_device, load_config, load_tokenizer
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import adds_bos, wants_bos
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.manifest import DTYPE_BYTES, QUANTIZATION_REASON, Dtype
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.shards import plan_shards
from neuron_signatures.runs.writer import stored_settings


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
    def longest_prompt_bytes(self) -> int:
        """Working memory of the longest prompt alone, without attention scores."""
        return longest_prompt_bytes(self.config, self.info, self.layers, self.prompts)

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
    chosen = _quantization(config, hf_config, info, longest_prompt_bytes(config, info, layers, tokenized))
    config = replace(config, model=chosen.spec)
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
            **({QUANTIZATION_REASON: chosen.reason} if chosen.reason else {}),
        },
    )


class _Chosen(NamedTuple):
    spec: ModelSpec
    reason: str
    """Why it is quantised, if that was chosen because of the free memory."""


def _quantization(config: DumpConfig, hf_config: PretrainedConfig, info: ModelInfo, work_bytes: int) -> _Chosen:
    """The model of the dump. A dump that was begun keeps its quantisation, whatever is free now."""
    spec, begun = config.model, stored_settings(config.out_dir) if config.resume else None
    if begun is None:
        found = fit_to_memory(replace(spec, may_quantize=config.may_quantize), hf_config, info, work_bytes=work_bytes)
        return _Chosen(found.spec, found.reason)
    before = begun.get("quantization")
    if spec.may_quantize:
        spec = replace(spec, may_quantize=False)
        if before in ("8bit", "4bit"):
            spec = replace(spec, quantization=before)
    reason = str(begun.get(QUANTIZATION_REASON, "")) if spec.quantization == before else ""
    return _Chosen(spec, reason)


def longest_prompt_bytes(
    config: DumpConfig, info: ModelInfo, layers: Sequence[int], prompts: Sequence[TokenizedPrompt]
) -> int:
    """Working memory of the longest prompt alone, without attention scores."""
    itemsize = DTYPE_BYTES[config.model.dtype]
    per_token = token_bytes(len(layers), info.d_mlp, info.d_model, config.save_dtype, itemsize)
    return max(p.seq_len for p in prompts) * per_token


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
