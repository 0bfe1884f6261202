"""Generation with edits, beside generation without."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.api.live import GenerateAnswer, Generated, GenerateRequest
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.generation import continue_text
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.edits import check_edits, edit_warnings
from neuron_signatures.server.live.stopping import check
from neuron_signatures.server.live.tokens import ids_of, token_rows


def generate(held: Held, request: GenerateRequest, stop: Stop) -> GenerateAnswer:
    """The text goes on with and without the edits: the most likely tokens, or drawn with the same seed in both.

    Raises `UsageError` if the model's context is too short for the text and the new tokens.
    """
    ids = ids_of(held, request)
    if held.context is not None and len(ids) + request.max_new_tokens > held.context:
        what = f"{len(ids)} tokens and {request.max_new_tokens} new ones, the model reads {held.context}"
        raise UsageError(what, where="max_new_tokens", next_step="Ask for fewer, or give a shorter text")
    edits = check_edits(held, request.edits, len(ids), stop)
    edited = _generated(held, request, ids, [e.hooked() for e in edits], stop) if edits else None
    plain = _generated(held, request, ids, [], stop) if request.compare or not edits else None
    return GenerateAnswer(prompt=token_rows(held, ids), edited=edited, plain=plain, warnings=edit_warnings(edits))


def _generated(
    held: Held, request: GenerateRequest, ids: Sequence[int], edits: Sequence[Edit], stop: Stop
) -> Generated:
    found = continue_text(
        held.model, ids, edits, max_new_tokens=request.max_new_tokens, temperature=request.temperature,
        seed=request.seed, before_each=lambda: check(stop),
    )  # fmt: skip
    new = found.token_ids
    said = new[:-1] if found.finished else new
    return Generated(
        text=_text_after(held, ids, said), tokens=token_rows(held, new, first=len(ids)), finished=found.finished
    )


def _text_after(held: Held, ids: Sequence[int], new: Sequence[int]) -> str:
    """The text of the new tokens: a sentencepiece decoder would drop the space at the beginning of them alone."""
    decode = held.model.tokenizer.decode
    before, after = (decode(list(x), clean_up_tokenization_spaces=False) for x in (ids, [*ids, *new]))
    alone = decode(list(new), clean_up_tokenization_spaces=False)
    return encodable(after.removeprefix(before) if after.startswith(before) else alone)
