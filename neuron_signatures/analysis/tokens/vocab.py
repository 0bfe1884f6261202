"""A word that a user writes, as the one token that it means."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.tokens import encode_text, token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import visible


def single_token(tokenizer: TokenizerBase, text: str, *, where: str) -> int:
    """The id of the one token that stands for exactly `text`, spaces included.

    That is what `text` is encoded to, or, for tokenizers that put a space before every text (Llama), the one entry
    of the vocabulary that reads so. Raises `UsageError` with the pieces of the text with and without a leading
    space when there is none.
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
    shown = "; ".join(_pieces(tokenizer, v) for v in variants if v)
    raise UsageError(f"{visible(text)!r} is not one token: {shown}", where=where, next_step="Give one token, or its id")


def explicit_tokens(tokenizer: TokenizerBase, text: str) -> list[int]:
    """Token ids of `" Austin| Texas"`: parted at `|`, spaces kept, each exactly one token (else `UsageError`)."""
    parts = text.split("|")
    if "" in parts:
        raise UsageError("there is an empty token", where="--explicit_tokens", next_step='Write " Austin| Texas"')
    return [single_token(tokenizer, part, where="--explicit_tokens") for part in parts]


def _entries(tokenizer: TokenizerBase, text: str) -> list[int]:
    """Ids of the vocabulary that read exactly `text`, without the single bytes that sentencepiece falls back to."""
    pieces: dict[str, int] = tokenizer.get_vocab()
    ids = sorted(i for piece, i in pieces.items() if not (piece.startswith("<0x") and len(piece) == 6))
    return [i for i, string in zip(ids, token_strings(tokenizer, ids), strict=True) if string == text]


def _puts_a_space_first(tokenizer: TokenizerBase) -> bool:
    return token_strings(tokenizer, encode_text(tokenizer, "a", prepend_bos=False))[:1] == [" a"]


def _pieces(tokenizer: TokenizerBase, text: str) -> str:
    ids = encode_text(tokenizer, text, prepend_bos=False)
    pieces = ", ".join(f"{visible(s)!r} {i}" for s, i in zip(token_strings(tokenizer, ids), ids, strict=True))
    return f"{visible(text)!r} is {pieces or 'nothing'}"
