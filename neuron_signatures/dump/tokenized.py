"""Tokenizing prompts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.dump.prompts import Prompt
from neuron_signatures.models.tokens import encode_chat, encode_text, token_strings
from neuron_signatures.runs.errors import UsageError


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt and its token ids. `truncated_from` is the length before truncation; None if not truncated."""

    prompt: Prompt
    token_ids: list[int]
    text: str
    """The text of the prompt; for a chat, the decoded tokens."""
    truncated_from: int | None

    @property
    def seq_len(self) -> int:
        return len(self.token_ids)


def tokenize(
    tokenizer: TokenizerBase, prompt: Prompt, *, prepend_bos: bool, context: int | None, truncate: int | None
) -> TokenizedPrompt:
    """Token ids of a prompt.

    A prompt longer than the model's `context` is refused unless `truncate` is given (0: to the context; N: to at most N
    tokens), which keeps the first tokens. A prompt of only BOS is refused.
    """
    where = f"prompt {prompt.id!r}"
    if prompt.messages is not None:
        try:
            ids = encode_chat(tokenizer, prompt.messages)
        except UsageError as e:
            raise UsageError(e.what, where=f"{where} {e.where}".strip(), next_step=e.next_step) from e
    else:
        ids = encode_text(tokenizer, prompt.text or "", prepend_bos=prepend_bos)
    n = len(ids)
    most = min([x for x in (context, truncate or None) if x is not None], default=n)
    if n > most and truncate is None:
        next_step = "Shorten it, or allow --truncate"
        raise UsageError(f"{n} tokens, but the model's context is {most}", where=where, next_step=next_step)
    ids = ids[:most]
    if not ids or ids == [tokenizer.bos_token_id]:
        next_step = "Add text, or remove the prompt" if n <= most else "Allow more tokens with --truncate"
        raise UsageError("has no tokens of its own", where=where, next_step=next_step)
    text = prompt.text if prompt.text is not None else "".join(token_strings(tokenizer, ids))
    return TokenizedPrompt(prompt, ids, text, n if n > most else None)
