"""Text to ids with exactly one BOS, and ids back to their strings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from dump_faults import run_dump
from dump_runs import flags
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, VOCAB, build_config, build_tokenizer, tiny_model_dir
from transformers import PreTrainedTokenizerFast

from neuron_signatures.models.load import ModelSpec, load_tokenizer
from neuron_signatures.models.tokens import (
    adds_bos,
    bos_policy,
    context_length,
    encode_chat,
    encode_text,
    token_strings,
    tokenizer_sha256,
    wants_bos,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

TEXT = "the capital of  Dallas\nis é"
TOKENIZERS = {name: build_tokenizer(name) for name in ("gpt2", "opt", "gpt_neox", "qwen2", "gemma2", "llama")}
BYTE_LEVEL = ("gpt2", "opt", "gpt_neox", "qwen2")
CHAT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_neox", "gemma2", "llama"])
def test_bos_comes_exactly_once(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = encode_text(tokenizer, TEXT, prepend_bos=True)
    without = encode_text(tokenizer, TEXT, prepend_bos=False)
    assert ids == [tokenizer.bos_token_id, *without]
    assert tokenizer.bos_token_id not in without
    spelled_out = encode_text(tokenizer, tokenizer.bos_token + TEXT, prepend_bos=True)
    assert spelled_out.count(tokenizer.bos_token_id) == 1 and spelled_out[0] == tokenizer.bos_token_id
    assert bos_policy(tokenizer, prepend_bos=True) == "prepended"
    assert bos_policy(tokenizer, prepend_bos=False) == "off"


def test_bos_tokenizer_does_what_the_tokenizer_does() -> None:
    for name, tokenizer in TOKENIZERS.items():
        itself = tokenizer(TEXT)["input_ids"]
        asked = encode_text(tokenizer, TEXT, prepend_bos=wants_bos(tokenizer, "tokenizer"))
        assert asked == itself, name
        assert adds_bos(tokenizer) == (itself[0] == tokenizer.bos_token_id)
        assert wants_bos(tokenizer, "prepend") and not wants_bos(tokenizer, "off")


def test_the_tiny_tokenizers_cover_those_that_add_a_bos_and_those_that_do_not() -> None:
    adds = {name: t(TEXT)["input_ids"][:1] == [t.bos_token_id] for name, t in TOKENIZERS.items()}
    assert adds == {"gpt2": False, "gpt_neox": False, "qwen2": False, "opt": True, "gemma2": True, "llama": True}


def test_no_bos_is_invented() -> None:
    tokenizer = TOKENIZERS["qwen2"]
    assert tokenizer.bos_token_id is None
    assert encode_text(tokenizer, TEXT, prepend_bos=True) == encode_text(tokenizer, TEXT, prepend_bos=False)
    assert bos_policy(tokenizer, prepend_bos=True) == "none"


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UsageError, match="surrogate"):
        encode_text(TOKENIZERS["gpt2"], "the \ud800", prepend_bos=True)


def test_empty_text_is_the_bos_or_nothing() -> None:
    assert encode_text(TOKENIZERS["gemma2"], "", prepend_bos=True) == [TOKENIZERS["gemma2"].bos_token_id]
    assert encode_text(TOKENIZERS["qwen2"], "", prepend_bos=True) == []


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama"])
def test_token_strings_are_the_pieces_of_the_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = encode_text(tokenizer, TEXT, prepend_bos=True)
    strings = token_strings(tokenizer, ids)
    assert len(strings) == len(ids)
    assert strings[0] == tokenizer.bos_token
    space = " " if name == "llama" else ""  # the Llama tokenizer puts one before the first word
    assert "".join(strings[1:]) == space + TEXT.replace("é", "<0xC3><0xA9>")
    assert any(s == " of" for s in strings)


def test_strings_of_single_tokens() -> None:
    gemma, gpt2 = TOKENIZERS["gemma2"], TOKENIZERS["gpt2"]
    ids = gemma.convert_tokens_to_ids(["▁of", "<0x0A>", "<0xE2>", "<bos>", "of"])
    assert token_strings(gemma, ids)[:4] == [" of", "\n", "<0xE2>", "<bos>"]
    ids = gpt2.convert_tokens_to_ids(["Ġof", "Ċ", "â", "<|endoftext|>"])
    assert token_strings(gpt2, ids) == [" of", "\n", "<0xE2>", "<|endoftext|>"]
    assert token_strings(gpt2, [VOCAB - 1]) == [f"<id {VOCAB - 1}>"]
    assert token_strings(gpt2, []) == []


def test_added_tokens_keep_their_spaces() -> None:
    """GPT-NeoX and Phi have runs of spaces as added tokens, Gemma has ▁▁."""
    gpt2, gemma = build_tokenizer("gpt2"), build_tokenizer("gemma2")
    gpt2.add_tokens(["   "])
    assert token_strings(gpt2, encode_text(gpt2, "the   of", prepend_bos=False))[3:4] == ["   "]
    gemma.add_tokens(["▁▁"])
    assert token_strings(gemma, [gemma.convert_tokens_to_ids("▁▁")]) == ["  "]


@pytest.mark.parametrize("name", BYTE_LEVEL)
@given(text=st.text())
@example(text="\uf900")
def test_byte_level_token_strings_join_to_the_text(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    if normalizer := tokenizer.backend_tokenizer.normalizer:  # NFC in Qwen2 and GPT-NeoX
        text = normalizer.normalize_str(text)
    strings = token_strings(tokenizer, encode_text(tokenizer, text, prepend_bos=False))
    pieces = [re.sub(rb"<0x([0-9A-F]{2})>", lambda m: bytes.fromhex(m[1].decode()), s.encode()) for s in strings]
    assert b"".join(pieces) == text.encode()


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁")))
def test_sentencepiece_token_strings_join_to_the_text(text: str) -> None:
    tokenizer = TOKENIZERS["gemma2"]
    strings = token_strings(tokenizer, encode_text(tokenizer, text, prepend_bos=False))
    pieces = [re.sub(rb"<0x([0-9A-F]{2})>", lambda m: bytes.fromhex(m[1].decode()), s.encode()) for s in strings]
    assert b"".join(pieces) == text.encode()


def test_hash_is_the_same_after_saving_padding_and_in_another_process(tmp_path: Path) -> None:
    for name in ("gpt2", "qwen2", "gemma2", "llama"):
        tokenizer = build_tokenizer(name)
        want = tokenizer_sha256(tokenizer)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        padded = tokenizer_sha256(tokenizer)
        tokenizer(["the", "the capital of"], padding=True, truncation=True, max_length=2)
        tokenizer.padding_side = "left"
        assert tokenizer_sha256(tokenizer) == padded
        assert tokenizer_sha256(load_tokenizer(ModelSpec(str(tiny_model_dir(name))))) == want
    assert run_dump(flags(tmp_path, model=name)).returncode == 0
    assert Run.open(tmp_path / "run").manifest.tokenizer_sha256 == want


def test_a_byte_level_tokenizer_in_a_gemma_folder_stays_byte_level(tmp_path: Path) -> None:
    """transformers chooses a class by the config's model_type; the saved tokenizer must win (the demo model)."""
    shutil.copytree(tiny_model_dir("gemma2"), tmp_path, dirs_exist_ok=True)
    backend = build_tokenizer("gpt2").backend_tokenizer
    saved = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="</s>")
    saved.save_pretrained(tmp_path)
    loaded = load_tokenizer(ModelSpec(str(tmp_path)))
    assert tokenizer_sha256(loaded) == tokenizer_sha256(saved)
    assert token_strings(loaded, encode_text(loaded, TEXT, prepend_bos=True))[-1] == "<0xA9>"


def test_different_tokenizers_have_different_hashes() -> None:
    hashes = {tokenizer_sha256(t) for t in TOKENIZERS.values()}
    changed = build_tokenizer("gpt2")
    changed.add_tokens(["Dallas!"])
    hashes.add(tokenizer_sha256(changed))
    other_bos = build_tokenizer("gpt2")
    other_bos.bos_token = "</s>"
    hashes.add(tokenizer_sha256(other_bos))
    assert len(hashes) == len(TOKENIZERS) + 2


def test_chat_ends_with_the_assistants_turn_unless_it_spoke_last() -> None:
    tokenizer = build_tokenizer("gpt2")
    tokenizer.chat_template = CHAT
    question, answer = {"role": "user", "content": "is"}, {"role": "assistant", "content": "of"}
    assert "".join(token_strings(tokenizer, encode_chat(tokenizer, [question]))) == "<user>is\n<assistant>"
    ids = encode_chat(tokenizer, [question, answer])
    assert "".join(token_strings(tokenizer, ids)) == "<user>is\n<assistant>of\n"


def test_chat_without_a_template_or_refused_by_it_is_a_usage_error() -> None:
    tokenizer = build_tokenizer("gpt2")
    with pytest.raises(UsageError, match="no chat template"):
        encode_chat(tokenizer, [{"role": "user", "content": "is"}])
    tokenizer.chat_template = CHAT
    with pytest.raises(UsageError, match="no system role"):
        encode_chat(tokenizer, [{"role": "system", "content": "is"}])


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "user"}], r"messages\[0\]"),
        ([{"role": "user", "content": "a", "name": "b"}], r"messages\[0\]"),
        ([{"role": "user", "content": "a"}, {"role": "robot", "content": "a"}], r"messages\[1\].*'robot'"),
        ([{"role": "user", "content": ["a"]}], r"messages\[0\]\.content"),
    ],
)
def test_malformed_messages_are_refused(messages: object, where: str) -> None:
    tokenizer = build_tokenizer("gpt2")
    tokenizer.chat_template = CHAT
    with pytest.raises(UsageError, match=where):
        encode_chat(tokenizer, messages)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_context_length(name: str) -> None:
    assert context_length(build_config(name)) == 64
