"""GGUF files of tiny random models, written with the gguf package."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from tiny_models import CONFIGS, N_LAYERS, build_model, build_tokenizer

# Names of a Llama layer's tensors in GGUF.
_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_ROPE_HEADS = {"attn_q": CONFIGS["llama"]["num_attention_heads"], "attn_k": CONFIGS["llama"]["num_key_value_heads"]}


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    pre: str | None = "smollm",
    metadata: dict[str, object] | None = None,
    tensors: dict[str, np.ndarray | None] | None = None,
) -> Path:
    """The tiny Llama of `build_model("llama")` in float32, with the tiny byte-level tokenizer of GPT-2.

    `architecture` is only what the file says of itself. `metadata` are further or other keys, of that architecture
    unless they begin with `general.`, `tokenizer.` or `split.`; `tensors` are further or other tensors, None to leave
    one out.
    """
    config = CONFIGS["llama"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    _write_tokenizer(writer, pre, config["vocab_size"])
    for key, value in (metadata or {}).items():
        _add(writer, key if key.startswith(("general.", "tokenizer.", "split.")) else f"{architecture}.{key}", value)
    weights = dict(_gguf_tensor(name, tensor.numpy()) for name, tensor in build_model("llama").state_dict().items())
    for name, array in (weights | (tensors or {})).items():
        if array is not None:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    writer.kv_data[0].pop(key, None)
    kinds = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
    kinds[type(value)](key, value)


def _gguf_tensor(name: str, weights: np.ndarray) -> tuple[str, np.ndarray]:
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in outside:
        return f"{outside[stem]}.weight", weights
    _, _, layer, module = stem.split(".", 3)
    short = _LAYER[module]
    if heads := _ROPE_HEADS.get(short):
        # llama.cpp rotates neighbouring rows, transformers the two halves of a head.
        weights = np.ascontiguousarray(weights.reshape(heads, 2, -1, weights.shape[1]).swapaxes(1, 2)).reshape(
            weights.shape
        )
    return f"blk.{layer}.{short}.weight", weights


def _write_tokenizer(writer: gguf.GGUFWriter, pre: str | None, vocab_size: int) -> None:
    tokenizer = build_tokenizer("gpt2")
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    tokens += [f"<unused{i}>" for i in range(vocab_size - len(tokens))]
    control = [3 if t in tokenizer.all_special_tokens else 1 for t in tokens]
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(control)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
