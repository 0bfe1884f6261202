"""Tiny random models of every supported architecture, as loadable folders with a tokenizer."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GemmaTokenizer,
    GPT2Tokenizer,
    GPTNeoXTokenizer,
    LlamaTokenizer,
    PreTrainedModel,
    Qwen2Tokenizer,
)
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.faults import quiet_libraries

D_MODEL, N_LAYERS, D_MLP, CONTEXT = 32, 3, 88, 64
VOCAB = 384
SLIDING_WINDOW = 4

_BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": D_MODEL,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": D_MLP,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_GQA = {**_BASE, "num_key_value_heads": 2, "head_dim": 8}

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": VOCAB, "n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 4, "n_inner": D_MLP,
        "n_positions": CONTEXT, "bos_token_id": 0, "eos_token_id": 0,
    },
    "gemma": _GQA,
    "gemma2": {**_GQA, "sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 8},
    "gemma3": {**_GQA, "sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 8,
                    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "llama": _GQA,
    "qwen2": {k: v for k, v in _GQA.items() if k != "head_dim"},
    "qwen3": _GQA,
    "mistral": {**_GQA, "sliding_window": SLIDING_WINDOW},
    "phi": {**_BASE, "partial_rotary_factor": 0.5},
    "phi3": {k: v for k, v in _GQA.items() if k != "head_dim"} | {"original_max_position_embeddings": CONTEXT},
    "gpt_neox": {**_BASE, "rotary_pct": 0.5},
    "opt": {
        "vocab_size": VOCAB, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
        "ffn_dim": 72, "max_position_embeddings": CONTEXT, "word_embed_proj_dim": D_MODEL,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    },
}  # fmt: skip
ARCHITECTURES = tuple(CONFIGS)
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {**_GQA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**_GQA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
}

# A Gemma-3 checkpoint with a vision tower; only its text model is used.
_VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
    "image_size": 28, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
_WORDS = ["the", "capital", "of", "is", "in", "on", "at", "er", "in", "an", "Dallas", "Austin", "and"]


def build_config(name: str, **changes: Any) -> Any:
    """The config of a tiny model; `name` is a key of CONFIGS or MIXTURES, or `gemma3_vision`."""
    if name == "gemma3_vision":
        text = {**CONFIGS["gemma3"], **changes}
        return AutoConfig.for_model("gemma3", text_config=text, vision_config=_VISION, mm_tokens_per_image=1)
    model_type = "gemma3_text" if name == "gemma3" else name
    return AutoConfig.for_model(model_type, **{**(CONFIGS | MIXTURES)[name], **changes})


def build_model(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A seeded float32 model in eval mode whose norms, biases and matrices are all random."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(build_config(name, **changes), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        norm = "Norm" in type(module).__name__
        for key, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            with torch.no_grad():
                # Norm weights around their neutral value, everything else large enough to matter.
                parameter.copy_(parameter + 0.3 * noise if norm or key == "bias" else 0.15 * noise)
    return model.eval()


def build_tokenizer(name: str) -> TokenizerBase:
    """A tokenizer of the kind that the real models of this architecture use, with a small vocabulary."""
    if name in ("gpt2", "phi", "opt", "gpt_neox"):
        vocab, merges = _byte_level_vocab(["<|endoftext|>", "</s>"])
        if name == "gpt_neox":
            return GPTNeoXTokenizer(vocab=vocab, merges=merges)
        if name == "opt":
            return GPT2Tokenizer(vocab=vocab, merges=merges, bos_token="</s>", eos_token="</s>", add_bos_token=True)
        return GPT2Tokenizer(vocab=vocab, merges=merges)
    if name.startswith("qwen"):
        vocab, merges = _byte_level_vocab(["<|endoftext|>", "<|im_end|>"])
        return Qwen2Tokenizer(vocab=vocab, merges=merges)
    if name.startswith("gemma"):
        vocab, merges = _sentencepiece_vocab(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
        return GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)
    vocab, merges = _sentencepiece_vocab(["<unk>", "<s>", "</s>"])
    return LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)


@functools.cache
def tiny_model_dir(name: str) -> Path:
    """A folder with config, float32 safetensors weights and tokenizer of a tiny model; made once per test process."""
    folder = _root() / name
    with quiet_libraries():
        build_model(name).save_pretrained(folder)
    build_tokenizer(name).save_pretrained(folder)
    return folder


@functools.cache
def _root() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="tiny-models-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _byte_level_vocab(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    return _bpe_vocab(special, sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġ")


def _sentencepiece_vocab(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,"
    return _bpe_vocab(special, [f"<0x{b:02X}>" for b in range(256)] + list(letters), "▁")


def _bpe_vocab(special: list[str], alphabet: list[str], space: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    pieces, merges = [*special, *alphabet], []
    for word in [space + w for w in _WORDS]:
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces and len(pieces) < VOCAB - 4:
                merges.append((word[: end - 1], word[end - 1]))
                pieces.append(word[:end])
    return {piece: i for i, piece in enumerate(pieces)}, merges
