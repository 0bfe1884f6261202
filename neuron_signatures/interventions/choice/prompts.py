"""Prompts of interventions: of the run, or given as text and tokenized like the run's."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import context_length, encode_text, token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import PromptText
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable


@dataclass(frozen=True)
class Prompt:
    """`prompt_id` is None for a text that is not of the run; `n_special` is the number of BOS tokens in front."""

    prompt_id: str | None
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    n_special: int

    def record(self, answer_id: int | None = None, answer: str | None = None) -> PromptText:
        return PromptText(
            prompt_id=self.prompt_id,
            text=encodable(self.text),
            tokens=[encodable(t) for t in self.tokens],
            token_ids=list(self.token_ids),
            answer_id=answer_id,
            answer=None if answer is None else encodable(answer),
        )


def prompt_of_run(run: Run, record: PromptRecord) -> Prompt:
    special = int(run.begins_with_bos(record))
    return Prompt(record.probe_id, record.text, tuple(record.token_ids), tuple(record.tokens), special)


def prompt_of_text(run: Run, model: LoadedModel, text: str, *, where: str) -> Prompt:
    """A text with a BOS in front if the run's texts have one. Raises `UsageError` for a text without tokens."""
    ids = encode_text(model.tokenizer, text, prepend_bos=run.manifest.prepend_bos)
    special = int(ids[:1] == [model.tokenizer.bos_token_id])
    if len(ids) <= special:
        raise UsageError("the text has no tokens", where=where)
    limit = context_length(model.config)
    if limit is not None and len(ids) > limit:
        raise UsageError(f"the text has {len(ids)} tokens, the model reads {limit}", where=where)
    return Prompt(None, text, tuple(ids), tuple(token_strings(model.tokenizer, ids)), special)
