"""A tiny random chat model: llama with a template of its own, and answers of a few tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiny_models import CONTEXT, VOCAB, build_model, build_tokenizer

from neuron_signatures.models.faults import quiet_libraries
from neuron_signatures.models.spec import Dtype

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
# One of twelve tokens, so that answers have some tokens and end by themselves.
NAMED_ENDS = [i for i in range(3, VOCAB) if i % 12 == 0]


@dataclass(frozen=True)
class Spec:
    """What a local model needs of `LlmSpec`."""

    model: str
    device: str = "cpu"
    dtype: Dtype | None = None
    batch_size: int = 4


def make_chat_model(
    folder: Path, *, template: str | None = TEMPLATE, seed: int = 0, name: str = "llama", context: int = CONTEXT
) -> Path:
    """A folder with the model. Its end tokens are `NAMED_ENDS`, and those of the tokenizer and the template."""
    changes = {"n_positions" if name == "gpt2" else "max_position_embeddings": context}
    model, tokenizer = build_model(name, seed, **changes), build_tokenizer(name)
    model.generation_config.eos_token_id = NAMED_ENDS
    tokenizer.chat_template = template
    with quiet_libraries():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
