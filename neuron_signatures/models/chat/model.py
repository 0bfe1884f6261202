"""A chat model: a causal language model with its tokenizer, its chat template and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from neuron_signatures.models.chat.generation import Answered, Asked, generate, never
from neuron_signatures.models.chat.template import ChatTemplate, end_tokens, open_template
from neuron_signatures.models.identity import model_identity
from neuron_signatures.models.load import LoadedModel, load_model, load_tokenizer
from neuron_signatures.models.spec import Dtype, ModelSpec
from neuron_signatures.models.tokens import context_length, token_strings


@dataclass(frozen=True)
class ChatModel:
    """`version` tells models of one name apart: a commit of the Hub, or a checksum of the weights."""

    loaded: LoadedModel
    template: ChatTemplate
    ends: frozenset[int]
    context: int | None
    version: str

    def generate(self, asked: Sequence[Asked], *, stop: Callable[[], bool] = never) -> list[Answered]:
        """An answer to each prompt, in order."""
        return generate(self.loaded.hf, asked, self.ends, self.loaded.device, stop=stop)

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        return str(
            self.template.tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def token(self, token_id: int) -> str:
        """The string of one token, exactly."""
        return token_strings(self.template.tokenizer, [token_id])[0]


def load_chat_model(spec: ModelSpec) -> ChatModel:
    """The model of `spec`. Raises as `load_model`, and `UsageError` if it has no chat template, before it is loaded."""
    where = f"model {spec.name}"
    open_template(load_tokenizer(spec), where=where)
    loaded = load_model(spec)
    tokenizer = loaded.tokenizer
    identity = model_identity(spec, loaded.config, tokenizer)
    return ChatModel(
        loaded, open_template(tokenizer, where=where), end_tokens(loaded.hf, tokenizer), context_length(loaded.config),
        identity.revision or identity.weights_fingerprint or "unknown",
    )  # fmt: skip


def default_dtype(device: torch.device) -> Dtype:
    """bf16 on a GPU, fp32 elsewhere."""
    return "bf16" if device.type == "cuda" else "fp32"
