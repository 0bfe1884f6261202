"""Log-probabilities of tokens inside given texts, from one forward pass per batch of texts.

All texts of a call begin with the same prefix. Its keys and values are computed once, and shared by the batch. The same
arguments give the same numbers whatever was asked before, unless memory runs out and a batch is halved.
"""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from neuron_signatures.models.batching import BatchSize, Work, run_in_halves
from neuron_signatures.models.chat.generation import never

log = logging.getLogger(__name__)

MOST_KEPT: Final = 4
"""Prefixes whose keys and values are kept."""
MOST_LOGITS: Final = 2**27
"""Logits of one forward pass: 512 MB in fp32. A single text may have more."""
_SLICE: Final = 2**24
"""Logits that are normalised at a time, in float32."""
# Their `update` makes new tensors (transformers 5.23); other layers write into those that they have.
_SHAREABLE: Final = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)


class Places(NamedTuple):
    """Places of a text, and the tokens whose log-probabilities are wanted at each: as many everywhere."""

    token_ids: tuple[int, ...]
    at: tuple[int, ...]
    wanted: tuple[tuple[int, ...], ...]


class Stopped(Exception):
    """The caller's `stop` ended the work before the next pass."""


class PromptLogits:
    """Reads the predictions of a model inside texts. Not for several threads at a time.

    `n_prefix_passes` counts the forward passes over prefixes, for tests.
    """

    def __init__(self, model: PreTrainedModel, device: torch.device, size: BatchSize) -> None:
        self._model, self._device, self._size = model, device, size
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._kept: OrderedDict[tuple[tuple[int, ...], int], Cache] = OrderedDict()
        self._can_share = True
        self.n_prefix_passes = 0

    def logprobs(
        self, prefix: tuple[int, ...], texts: Sequence[Places], *, shared: int = 0, stop: Callable[[], bool] = never
    ) -> list[Float32[np.ndarray, "place wanted"]]:
        """For each text the log-probability of each wanted token at each place, predicted from everything before it.

        Normalised over the vocabulary, in float32. A place may be the end of the text; what follows the last place
        makes no difference. The first `shared` tokens of the prefix are computed apart from the others, so that
        prefixes that differ only after them share the work. Raises `EnvironmentProblem` if a text does not fit into
        memory, and `Stopped`.
        """
        assert prefix and 0 <= shared < len(prefix)
        found: dict[int, np.ndarray] = {
            i: np.empty((0, 0), np.float32) for i, text in enumerate(texts) if not text.at
        }  # fmt: skip
        for group in _groups(texts, self._size.most, MOST_LOGITS // self._vocabulary):

            def run(part: Sequence[int]) -> list[np.ndarray]:
                if stop():
                    raise Stopped
                return self._pass(prefix, [texts[i] for i in part], shared)

            done = run_in_halves(run, group, size=self._size, unit="texts", work=lambda i: _work(prefix, texts[i]))
            found |= zip(group, (values for part in done for values in part), strict=True)
        return [found[i] for i in range(len(texts))]

    @torch.inference_mode()
    def _pass(self, prefix: tuple[int, ...], texts: Sequence[Places], shared: int) -> list[np.ndarray]:
        """One forward pass. Each row begins with the last token of the prefix, which predicts the first of the text."""
        cache = self._cache_of(prefix[:-1], shared) if self._can_share and len(prefix) > 1 else None
        before = prefix[-1:] if cache is not None else prefix
        rows = [(*before, *text.token_ids[: max(text.at)]) for text in texts]
        start = len(prefix) - len(before)
        ids, mask = _padded(rows, start, self._device)
        positions = torch.arange(start, start + ids.shape[1], device=self._device).expand(len(rows), -1)
        predicting = [i * ids.shape[1] + len(before) - 1 + p for i, text in enumerate(texts) for p in text.at]
        with _only_at(self._model, predicting):
            out = self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions,
                past_key_values=None if cache is None else _copies(cache, len(rows)), use_cache=cache is not None,
            )  # fmt: skip
        assert out.logits.shape[:2] == (1, len(predicting)), "the logits are not those of the wanted places"
        values = _normalised(out.logits[0], [wanted for text in texts for wanted in text.wanted])
        return np.split(values, np.cumsum([len(text.at) for text in texts])[:-1])

    def _cache_of(self, token_ids: tuple[int, ...], shared: int) -> Cache | None:
        """The keys and values of these tokens; None if this model's cannot be shared by the rows of a batch."""
        key = (token_ids, min(shared, len(token_ids)))
        if key not in self._kept:
            stem = None
            if 0 < shared < len(token_ids):
                stem = self._cache_of(token_ids[:shared], shared)
            made = self._made(token_ids, stem, shared) if self._can_share else None
            if made is None:
                return None
            self._kept[key] = made
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _made(self, token_ids: tuple[int, ...], stem: Cache | None, shared: int) -> Cache | None:
        start = 0 if stem is None else shared
        ids = torch.tensor([token_ids[start:]], device=self._device)
        with _only_at(self._model, [0]):
            out = self._model(
                input_ids=ids, attention_mask=ids.new_ones(1, len(token_ids)),
                position_ids=torch.arange(start, len(token_ids), device=self._device).unsqueeze(0),
                past_key_values=None if stem is None else _copies(stem, 1), use_cache=True,
            )  # fmt: skip
        self.n_prefix_passes += 1
        cache = getattr(out, "past_key_values", None)
        if isinstance(cache, Cache) and all(type(layer) in _SHAREABLE for layer in cache.layers):
            return cache
        log.warning(
            "the shared beginning of prompts is computed again for each of them: the states that %s keeps of it cannot "
            "be shared", type(self._model).__name__,
        )  # fmt: skip
        self._can_share = False
        return None


def _groups(texts: Sequence[Places], most_texts: int, most_places: int) -> Iterator[list[int]]:
    """Texts of similar lengths that run together; texts without places are left out."""
    group: list[int] = []
    n_places = 0
    for i in sorted((i for i, text in enumerate(texts) if text.at), key=lambda i: (max(texts[i].at), i)):
        if group and (len(group) == most_texts or n_places + len(texts[i].at) > most_places):
            yield group
            group, n_places = [], 0
        group.append(i)
        n_places += len(texts[i].at)
    if group:
        yield group


def _work(prefix: Sequence[int], text: Places) -> Work:
    where = "the language model in this process"
    return Work("reading predictions", where, "shorter texts or another --device", len(prefix) + len(text.token_ids))


def _padded(rows: Sequence[Sequence[int]], n_before: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids, padded on the right with what is never looked at, and the mask, which includes what is in the cache."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    mask = [[1] * (n_before + len(row)) + [0] * (longest - len(row)) for row in rows]
    return ids, torch.tensor(mask, device=device)


def _copies(cache: Cache, n: int) -> Cache:
    """A cache of `n` equal rows. A forward pass adds to it and leaves `cache` as it is: the tensors are views of it."""
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in twin.layers:
        if layer.keys is not None:
            layer.keys = layer.keys.expand(n, -1, -1, -1)
            layer.values = layer.values.expand(n, -1, -1, -1)
    return twin


@contextmanager
def _only_at(model: PreTrainedModel, places: Sequence[int]) -> Iterator[None]:
    """Within the block, the model computes logits of these places only, counted over all rows, as one row.

    What the model does with logits afterwards, such as a soft cap, is as always.
    """
    head: nn.Module = model.get_output_embeddings()

    def select(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        hidden: Float[Tensor, "row pos d_model"] = args[0]
        at = torch.tensor(places, device=hidden.device)
        return (hidden.reshape(-1, hidden.shape[-1])[at].unsqueeze(0),)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _normalised(
    logits: Float[Tensor, "place vocab"], wanted: Sequence[Sequence[int]]
) -> Float32[np.ndarray, "place wanted"]:
    """The log-probabilities of the wanted tokens."""
    found = []
    ids = torch.tensor(wanted, device=logits.device)
    step = max(1, _SLICE // logits.shape[-1])
    for start in range(0, len(logits), step):
        some = logits[start : start + step].float()
        found.append(some.gather(1, ids[start : start + step]) - some.logsumexp(-1, keepdim=True))
    return torch.cat(found).cpu().numpy()
