"""Text to token ids, and token ids back to their exact strings."""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, Literal

from jinja2.exceptions import TemplateError
from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.spec import BosRequest
from neuron_signatures.runs.errors import UsageError

# prepended: the ids begin with one BOS. off: no BOS is added. none: the tokenizer has no BOS.
BosPolicy = Literal["prepended", "off", "none"]

_SPACE_MARK = "▁"  # sentencepiece's word boundary
_ROLES: Final = ("system", "user", "assistant", "tool")
_BYTES_AS_PIECES: Final = "neuron_signatures.bytes_as_pieces"


def adds_bos(tokenizer: TokenizerBase) -> bool:
    """Whether the tokenizer itself prepends its BOS to a text (Llama 2, Gemma) or not (GPT-2, Qwen, SmolLM2)."""
    first = tokenizer("a", verbose=False)["input_ids"][:1]
    return tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]


def wants_bos(tokenizer: TokenizerBase, request: BosRequest) -> bool:
    """Whether `request` asks for a BOS from this tokenizer."""
    return request == "prepend" or (request == "tokenizer" and adds_bos(tokenizer))


def bos_policy(tokenizer: TokenizerBase, *, prepend_bos: bool) -> BosPolicy:
    """How `encode_text` treats the BOS, for the manifest."""
    if not prepend_bos:
        return "off"
    return "none" if tokenizer.bos_token_id is None else "prepended"


def encode_text(tokenizer: TokenizerBase, text: str, *, prepend_bos: bool) -> list[int]:
    """Token ids of `text`, beginning with exactly one BOS if requested and if the tokenizer has one.

    It makes no difference whether the tokenizer itself adds a BOS (Llama, Gemma) or not (GPT-2, Pythia), as in
    transformer-lens. Special tokens written in `text` are parsed as such; a BOS at its beginning is not doubled. No
    other special token is added, and nothing is truncated. Raises `UsageError` for an unpaired surrogate
    (`"\\ud800"` in JSON), which is not a character.
    """
    refuse_surrogates(text)
    ids = [int(i) for i in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]
    if bos_policy(tokenizer, prepend_bos=prepend_bos) != "prepended" or ids[:1] == [tokenizer.bos_token_id]:
        return ids
    return [int(tokenizer.bos_token_id), *ids]


def refuse_surrogates(text: str) -> None:
    """Raise `UsageError` for an unpaired surrogate, which is not a character."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError("the text has an unpaired surrogate, which is not a character", where=ascii(text[:40]))


def encode_chat(tokenizer: TokenizerBase, messages: object) -> list[int]:
    """Token ids of a conversation, by the tokenizer's own chat template, which also decides on the BOS.

    `messages` is user input: a list of `{"role": ..., "content": ...}`. If the last message is not the
    assistant's, the template opens the assistant's turn (`add_generation_prompt`); otherwise it closes the turn.
    Raises `UsageError` for messages of another shape, for a tokenizer without a template, and for messages that
    the template rejects (Gemma: a system role).
    """
    conversation = _checked_messages(messages)
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            "this model's tokenizer has no chat template", next_step="Use plain text or an instruction-tuned model"
        )
    try:
        ids = tokenizer.apply_chat_template(
            conversation,
            tokenize=True,
            add_generation_prompt=conversation[-1]["role"] != "assistant",
            return_dict=False,
        )
    except (TemplateError, ValueError, TypeError) as e:
        raise UsageError(f"the chat template rejects these messages ({e})") from e
    return [int(i) for i in ids]


def token_strings(tokenizer: TokenizerBase, ids: Sequence[int]) -> list[str]:
    """The string of each id, one per id: spaces kept, special tokens verbatim.

    Bytes that are not valid UTF-8 on their own are written `<0xE2>`, as in sentencepiece. An id without a token
    (padding of the embedding matrix) is written `<id 50300>`.
    """
    style = _piece_style(tokenizer)
    added = tokenizer.added_tokens_decoder
    out = []
    for i, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        if piece is None:
            out.append(f"<id {i}>")
        elif i in added:
            special = added[i].special or style != "sentencepiece"
            out.append(added[i].content if special else added[i].content.replace(_SPACE_MARK, " "))
        else:
            out.append(_piece_string(tokenizer, int(i), piece, style))
    return out


def tokenizer_sha256(tokenizer: TokenizerBase) -> str:
    """Hash of everything that maps text to ids and ids to strings, and of the special ids.

    Independent of the process, of saving and loading, and of padding and truncation settings left by a caller.
    The post-processor (it only adds special tokens) and the chat template are excluded.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: dict[str, Any]
    if backend is None:
        content = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    else:
        content = json.loads(backend.to_str())
    ignored = ("truncation", "padding", "post_processor")
    special = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk", "pad")}
    record = {"content": {k: v for k, v in content.items() if k not in ignored}, "special": special}
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def context_length(config: PretrainedConfig) -> int | None:
    """Maximum number of positions; None if the config does not state one (ALiBi, no limit)."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(length) if isinstance(length, int) and length > 0 else None


def _checked_messages(messages: object) -> list[dict[str, str]]:
    problem = "a chat is a list of {role, content} objects with string contents"
    if not isinstance(messages, list) or not messages:
        raise UsageError(problem, where="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise UsageError(problem, where=f"messages[{i}]")
        if message["role"] not in _ROLES:
            raise UsageError(f"role {message['role']!r} is not one of {', '.join(_ROLES)}", where=f"messages[{i}]")
        if not isinstance(message["content"], str):
            raise UsageError(problem, where=f"messages[{i}].content")
    return messages


PieceStyle = Literal["byte_level", "sentencepiece", "plain"]


def _piece_style(tokenizer: TokenizerBase) -> PieceStyle:
    """How the vocabulary writes spaces and bytes, according to the tokenizer's decoder."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return "sentencepiece" if any(_SPACE_MARK in piece for piece in tokenizer.get_vocab()) else "plain"
    # `__getstate__` gives the JSON of the decoder alone; that of the whole tokenizer takes megabytes.
    decoder = backend.decoder.__getstate__().decode() if backend.decoder is not None else ""
    if "ByteLevel" in decoder:
        return "byte_level"
    return "sentencepiece" if _SPACE_MARK in decoder or "Metaspace" in decoder else "plain"


def _piece_string(tokenizer: TokenizerBase, token_id: int, piece: str, style: PieceStyle) -> str:
    if style == "byte_level":
        table = _byte_of_character()
        if all(c in table for c in piece):
            return bytes(table[c] for c in piece).decode("utf-8", errors=_BYTES_AS_PIECES)
        return piece
    if style == "sentencepiece":
        if len(piece) == 6 and piece.startswith("<0x") and (byte := int(piece[3:5], 16)) < 0x80:
            return chr(byte)
        return piece.replace(_SPACE_MARK, " ")
    return str(tokenizer.decode([token_id]))


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """The byte of each character in GPT-2's vocabulary: printable Latin-1 is itself, other bytes follow from U+0100."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in set(itself)]
    return {chr(b): b for b in itself} | {chr(0x100 + i): b for i, b in enumerate(rest)}


def _bytes_as_pieces(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{b:02X}>" for b in error.object[error.start : error.end]), error.end


codecs.register_error(_BYTES_AS_PIECES, _bytes_as_pieces)
