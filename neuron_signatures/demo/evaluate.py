"""Accuracy of the demo model on the facts of the demo world.

An answer is correct if the top-1 token after the prompt is the first token of the answer. Sums are decoded greedily and
are correct if the whole number is correct.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from neuron_signatures.demo.geography import CITIES, STATES, state_of_city
from neuron_signatures.demo.phrasings import CITY_CAPITAL, STATE_CAPITAL, held_out_pairs, phrasing_of
from neuron_signatures.demo.world import SKILLS, documents

# A seed that no training run uses by default.
FRESH_SEED = 1_000_003
_BATCH = 128
_LABEL_IGNORED = -100


class Accuracy(NamedTuple):
    """Correct answers out of `total`. `bar` is the minimum acceptable share, or None."""

    name: str
    correct: int
    total: int
    bar: float | None = None

    @property
    def value(self) -> float:
        return self.correct / self.total

    @property
    def passed(self) -> bool:
        return self.bar is None or self.value >= self.bar


class Question(NamedTuple):
    """A prompt and the expected continuation after a space."""

    prompt: str
    answer: str


def bars(model: Any, tokenizer: Any) -> list[Accuracy]:
    """The three accuracies that the shipped model must reach."""
    return [
        city_capital_accuracy(model, tokenizer),
        _first_token_accuracy("state → capital", model, tokenizer, _state_questions(), 0.98),
        sum_accuracy("one-digit sums", model, tokenizer, range(10), 0.95),
    ]


def reported(model: Any, tokenizer: Any) -> list[Accuracy]:
    """Accuracies without a bar: held-out pairs, an unseen wording, and larger sums."""
    return [
        _first_token_accuracy("held-out (phrasing, city) pairs", model, tokenizer, _held_out_questions()),
        _first_token_accuracy("unseen wording, city → capital", model, tokenizer, _unseen_questions()),
        sum_accuracy("two-digit plus one-digit sums", model, tokenizer, range(10, 90)),
    ]


def city_capital_accuracy(model: Any, tokenizer: Any) -> Accuracy:
    """Capitals recalled from "The capital of the state containing {city} is", over all cities."""
    phrasing = phrasing_of(CITY_CAPITAL)
    questions = [Question(phrasing.prompt(state_of_city(city), city), state_of_city(city).capital) for city in CITIES]
    return _first_token_accuracy("city → capital", model, tokenizer, questions, 0.98)


def sum_accuracy(name: str, model: Any, tokenizer: Any, firsts: Sequence[int], bar: float | None = None) -> Accuracy:
    """Accuracy on sums "{a} + {b} =", for every b from 0 to 9."""
    pairs = [(a, b) for a in firsts for b in range(10)]
    written = _greedy(model, tokenizer, [f"{a} + {b} =" for a, b in pairs], n_new=4)
    correct = sum(_leading_number(text) == a + b for text, (a, b) in zip(written, pairs, strict=True))
    return Accuracy(name, correct, len(pairs), bar)


def skill_losses(model: Any, tokenizer: Any) -> dict[str, float]:
    """Skill → mean loss in nats per token on 256 fresh documents, <eos> included."""
    return {
        skill: _mean_loss(model, tokenizer, [d.text for d in documents(FRESH_SEED, 256, skill=skill)])
        for skill in SKILLS
    }


def _state_questions() -> list[Question]:
    phrasing = phrasing_of(STATE_CAPITAL)
    return [Question(phrasing.prompt(state, ""), state.capital) for state in STATES]


def _held_out_questions() -> list[Question]:
    located = [(phrasing, city, state_of_city(city)) for phrasing, city in held_out_pairs()]
    return [Question(phrasing.prompt(state, city), phrasing.answer(state, city)) for phrasing, city, state in located]


def _unseen_questions() -> list[Question]:
    return [
        Question(f"The capital city of the state that contains {city} is", state_of_city(city).capital)
        for city in CITIES
    ]


def _first_token_accuracy(
    name: str, model: Any, tokenizer: Any, questions: Sequence[Question], bar: float | None = None
) -> Accuracy:
    rows = [tokenizer(question.prompt)["input_ids"] for question in questions]
    firsts = [tokenizer(f" {q.answer}", add_special_tokens=False)["input_ids"][0] for q in questions]
    top = _last_logits(model, rows).argmax(-1).tolist()
    return Accuracy(name, sum(a == b for a, b in zip(top, firsts, strict=True)), len(questions), bar)


def _greedy(model: Any, tokenizer: Any, prompts: Sequence[str], n_new: int) -> list[str]:
    """The text of the next `n_new` most likely tokens of each prompt."""
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    starts = [len(row) for row in rows]
    for _ in range(n_new):
        chosen = _last_logits(model, rows).argmax(-1).tolist()
        rows = [[*row, token] for row, token in zip(rows, chosen, strict=True)]
    return [tokenizer.decode(row[start:]) for row, start in zip(rows, starts, strict=True)]


def _leading_number(text: str) -> int | None:
    """The integer at the start of the text, or None."""
    match = re.match(r" (\d+)", text)
    return int(match.group(1)) if match else None


@torch.no_grad()
def _last_logits(model: Any, rows: Sequence[list[int]]) -> Tensor:
    """[row, vocab]: logits after the last token of each row."""
    model.eval()
    parts = []
    for start in range(0, len(rows), _BATCH):
        ids, mask = _padded(rows[start : start + _BATCH])
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        parts.append(logits[torch.arange(len(ids)), mask.sum(-1) - 1])
    return torch.cat(parts)


@torch.no_grad()
def _mean_loss(model: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    model.eval()
    rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id][:256] for text in texts]
    total, count = 0.0, 0
    for start in range(0, len(rows), _BATCH):
        ids, mask = _padded(rows[start : start + _BATCH])
        labels = ids.masked_fill(mask == 0, _LABEL_IGNORED)[:, 1:]
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").item()
        count += int((labels != _LABEL_IGNORED).sum())
    return total / count


def _padded(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask, padded on the right, where causal attention ignores the padding."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    return ids, mask
