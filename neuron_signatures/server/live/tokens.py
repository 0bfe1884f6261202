"""From a request to token ids, positions and layers, with every limit checked before the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from neuron_signatures.analysis.attribution.targets import resolve_pos
from neuron_signatures.api.live import TextRequest, Token, TokensAnswer
from neuron_signatures.models.tokens import encode_text, token_strings, wants_bos
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.server.held import Held, Stop

MAX_NUMBERS: Final = 200_000
"""Numbers of one answer in JSON."""
FIRST_POSITION: Final = "position 0 carries massive activations: values there are unlike all others"
_TENSOR: Final = "Ask for fewer positions or neurons, or take /activations/tensor"


def tokens(held: Held, request: TextRequest, stop: Stop) -> TokensAnswer:
    """The tokens of a text as the model reads it."""
    ids = ids_of(held, request)
    return TokensAnswer(tokens=token_rows(held, ids), bos=ids[0] == held.model.tokenizer.bos_token_id)


def ids_of(held: Held, request: TextRequest) -> list[int]:
    """The token ids of the request's text, or those that it gives.

    Raises `UsageError` for a text without tokens or with more than `max_tokens`, and for ids outside the vocabulary.
    """
    if request.token_ids is not None:
        where, ids = "token_ids", list(request.token_ids)
    else:
        assert request.text is not None
        tokenizer, where = held.model.tokenizer, "text"
        ids = encode_text(tokenizer, request.text, prepend_bos=wants_bos(tokenizer, request.bos))
    if not ids:
        raise UsageError("the text has no tokens", where=where, next_step="Give a text, or bos: prepend")
    if len(ids) > held.max_tokens:
        what = f"{len(ids)} tokens, this server and model take {held.max_tokens}"
        raise UsageError(what, where=where, next_step="Give a shorter text, or start the server with --max_tokens")
    if (largest := max(ids)) >= held.vocab:
        raise UsageError(f"{largest} is not in 0..{held.vocab - 1}", where=where)
    return ids


def token_rows(held: Held, ids: Sequence[int], *, first: int = 0) -> list[Token]:
    """The tokens at the positions from `first` on."""
    strings = token_strings(held.model.tokenizer, ids)
    return [
        Token(pos=first + i, token_id=token_id, token=encodable(text))
        for i, (token_id, text) in enumerate(zip(ids, strings, strict=True))
    ]


def positions_of(given: Sequence[int] | None, length: int, *, default: Sequence[int]) -> list[int]:
    """Non-negative positions, in the order given. Raises `UsageError` for one outside the text or named twice."""
    if given is None:
        return list(default)
    found = [resolve_pos(pos, length, where="positions") for pos in given]
    if len(set(found)) < len(found):
        raise UsageError("a position is named twice", where="positions", next_step="Negative ones count from the end")
    return found


def all_but_first(length: int) -> list[int]:
    """The positions of a text but the first, whose activations are massive; of one token: the first."""
    return list(range(1, length)) or [0]


def layers_of(held: Held, given: Sequence[int] | None) -> list[int]:
    """The layers, ascending (None: all). Raises `UsageError` for one that the model does not have."""
    if given is None:
        return list(range(held.shape.n_layers))
    for layer in given:
        check_neuron(held, layer, 0, where="layers")
    return sorted(set(given))


def check_neuron(held: Held, layer: int, neuron: int, *, where: str) -> None:
    """Raise `UsageError` for a layer or neuron that the model does not have."""
    n_layers, d_mlp = held.shape
    if layer >= n_layers:
        raise UsageError(f"layer {layer} is not in 0..{n_layers - 1}", where=where)
    if neuron >= d_mlp:
        raise UsageError(f"neuron {neuron} is not in 0..{d_mlp - 1}", where=where)


def refuse_long_answer(n_numbers: int, *, next_step: str = _TENSOR) -> None:
    """Raise `UsageError` for an answer with too many numbers."""
    if n_numbers > MAX_NUMBERS:
        what = f"the answer would have {n_numbers:,} numbers, more than {MAX_NUMBERS:,}"
        raise UsageError(what, next_step=next_step)
