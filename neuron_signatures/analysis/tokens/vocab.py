"""Finds the single token for a word given by the user."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.tokens import encode_text, token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import visible


def single_token(
    tokenizer: TokenizerBase, text: str, *, where: str, next_step: str = "Give one token, or its id"
) -> int:
    """The id of the one token that is exactly `text`, spaces included.

    This is the encoding of `text`, or, for tokenizers that put a space before every text (Llama), the only entry of
    the vocabulary with this text. If there is none, raises `UsageError` with the tokens of the text with and without a
    leading space.
    """
    ids = encode_text(tokenizer, text, prepend_bos=False)
    if len(ids) == 1 and token_strings(tokenizer, ids) == [text]:
        return ids[0]
    if len(ids) == 1 or _puts_a_space_first(tokenizer):
        exact = _entries(tokenizer, text)
        if len(exact) == 1:
            return exact[0]
    bare = text.lstrip(" ")
    variants = list(dict.fromkeys([text, bare, " " + bare]))
    shown = "; ".join(_encoding(tokenizer, v) for v in variants if v)
    raise UsageError(f"{visible(text)!r} is not one token: {shown}", where=where, next_step=next_step)


def explicit_tokens(tokenizer: TokenizerBase, text: str) -> list[int]:
    """Token ids of `" Austin| Texas"`, split at `|` with spaces kept; each must be exactly one token."""
    parts = text.split("|")
    if "" in parts:
        raise UsageError("there is an empty token", where="--explicit_tokens", next_step='Write " Austin| Texas"')
    return [single_token(tokenizer, part, where="--explicit_tokens") for part in parts]


def _entries(tokenizer: TokenizerBase, text: str) -> list[int]:
    """Ids of the vocabulary entries with exactly this text, without sentencepiece's single-byte tokens."""
    vocab: dict[str, int] = tokenizer.get_vocab()
    ids = sorted(i for entry, i in vocab.items() if not (entry.startswith("<0x") and len(entry) == 6))
    return [i for i, string in zip(ids, token_strings(tokenizer, ids), strict=True) if string == text]


def _puts_a_space_first(tokenizer: TokenizerBase) -> bool:
    return token_strings(tokenizer, encode_text(tokenizer, "a", prepend_bos=False))[:1] == [" a"]


def _encoding(tokenizer: TokenizerBase, text: str) -> str:
    ids = encode_text(tokenizer, text, prepend_bos=False)
    tokens = ", ".join(f"{visible(s)!r} {i}" for s, i in zip(token_strings(tokenizer, ids), ids, strict=True))
    return f"{visible(text)!r} is {tokens or 'nothing'}"
