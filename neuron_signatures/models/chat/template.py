"""A conversation as token ids, by the model's own chat template, and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from jinja2.exceptions import TemplateError
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.tokens import refuse_surrogates
from neuron_signatures.runs.errors import UsageError

_PROBE: Final = "a"


class Turn(NamedTuple):
    """What one side says in a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class ChatTemplate:
    """The template of a tokenizer.

    `takes_system` says whether it accepts a system role. If not (Gemma), the text of a system turn is put in front of
    the next user turn. Templates that can switch reasoning off are told to (`enable_thinking`, Qwen3).
    """

    tokenizer: TokenizerBase
    takes_system: bool

    def encode(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids that end where the assistant's answer begins.

        Special tokens written in a turn are broken up with a space (`< |im_end|>`), so that quoted text cannot open
        or close a turn. Raises `UsageError` for turns that the template rejects and for an unpaired surrogate.
        """
        safe = [turn._replace(content=self._without_special(turn.content)) for turn in turns]
        return _render(self.tokenizer, safe if self.takes_system else _without_system(safe), opens=True)

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text outside any turn, without special tokens: those written in it are broken up as in turns.

        Raises `UsageError` for an unpaired surrogate.
        """
        ids = self.tokenizer(self._without_special(text), add_special_tokens=False, verbose=False)["input_ids"]
        return [int(i) for i in ids]

    def _without_special(self, text: str) -> str:
        refuse_surrogates(text)
        for token in self.tokenizer.all_special_tokens:
            if len(token) > 1:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def open_template(tokenizer: TokenizerBase, *, where: str) -> ChatTemplate:
    """The chat template of a tokenizer. Raises `UsageError` if it has none, or one that rejects a question."""
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            "this model's tokenizer has no chat template", where=where, next_step="Use an instruction-tuned model"
        )
    question = Turn("user", _PROBE)
    _render(tokenizer, [question], opens=True)
    try:
        _render(tokenizer, [Turn("system", _PROBE), question], opens=True)
    except UsageError:
        return ChatTemplate(tokenizer, takes_system=False)
    return ChatTemplate(tokenizer, takes_system=True)


def end_tokens(model: PreTrainedModel, tokenizer: TokenizerBase) -> frozenset[int]:
    """Ids that end an answer: those that the model and tokenizer name, and the one that closes a turn by the template.

    A fine-tuned model often names only the end of a text.
    """
    named = [tokenizer.eos_token_id]
    for config in (model.config.get_text_config(), model.generation_config):
        ids = getattr(config, "eos_token_id", None)
        named += ids if isinstance(ids, list) else [ids]
    return frozenset(int(i) for i in [*named, _closing(tokenizer)] if i is not None)


def _closing(tokenizer: TokenizerBase) -> int | None:
    """The first special token after an answer; None if the template writes none there.

    Found in the text: in tokens, the beginning of the answer can merge with what stands in front of it.
    """
    question = Turn("user", _PROBE)
    try:
        opened = _rendered(tokenizer, [question], opens=True)
        closed = _rendered(tokenizer, [question, Turn("assistant", _PROBE)], opens=False)
    except UsageError:
        return None
    if not closed.startswith(opened):
        return None
    rest = closed[len(opened) :]
    found = [token for token in tokenizer.all_special_tokens if token in rest]
    if not found:
        return None
    first = min(found, key=lambda token: (rest.index(token), -len(token)))
    return int(tokenizer.convert_tokens_to_ids(first))


def _render(tokenizer: TokenizerBase, turns: Sequence[Turn], *, opens: bool) -> list[int]:
    """Token ids, with the special tokens that the template writes and no others."""
    return [int(i) for i in tokenizer(_rendered(tokenizer, turns, opens=opens), add_special_tokens=False)["input_ids"]]


def _rendered(tokenizer: TokenizerBase, turns: Sequence[Turn], *, opens: bool) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [turn._asdict() for turn in turns], tokenize=False, add_generation_prompt=opens, enable_thinking=False
            )
        )
    except (TemplateError, ValueError, TypeError) as e:
        raise UsageError(f"the chat template rejects these messages ({e})") from e


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The text of each system turn in front of the next user turn."""
    found: list[Turn] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "system":
            waiting.append(turn.content)
        elif turn.role == "user" and waiting:
            found.append(Turn("user", "\n\n".join([*waiting, turn.content])))
            waiting = []
        else:
            found.append(turn)
    return found + [Turn("user", text) for text in waiting]
