"""A destination and a source prompt, ready to be patched: answers, roles, activations of both."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.tokens.vocab import single_token
from neuron_signatures.interventions.changes import Changes, setting
from neuron_signatures.interventions.choice.alignment import THAT_MATTER, Alignment, align
from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import visible

# A cell of a pair's grid: layer, index of the role, neuron.
Cells = Int[Tensor, "k 3"]


@dataclass(frozen=True)
class Seen:
    """A prompt in the clean model: all its activations, and the pre-cap logits after it."""

    prompt: Prompt
    acts: Float[Tensor, "layer pos neuron"]
    logits: Float[Tensor, " vocab"]

    @property
    def answer_id(self) -> int:
        return int(self.logits.argmax())


@dataclass
class Prompts:
    """Runs each prompt once."""

    session: Session
    _seen: dict[tuple[int, ...], Seen] = field(default_factory=dict)

    def see(self, prompt: Prompt) -> Seen:
        if prompt.token_ids not in self._seen:
            ids = prompt.token_ids
            logits = self.session.pre_cap_logits(ids, len(ids) - 1)
            self._seen[ids] = Seen(prompt, self.session.acts(ids), logits)
        return self._seen[prompt.token_ids]


@dataclass(frozen=True)
class Pair:
    """`roles` are names of positions, with their places in both prompts; only there may cells be patched.

    `problem` has the source's answer as the target and the destination's as the foil, so that f is the difference of
    their pre-cap logits after the destination. `source_acts` are those of the source at the roles.
    """

    id: str
    entities: tuple[str, str]
    destination: Seen
    source: Seen
    alignment: Alignment
    roles: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    problem: Problem
    source_acts: Float[Tensor, "layer role neuron"]

    @property
    def source_answer(self) -> int:
        return self.problem.target.token_id

    @property
    def destination_answer(self) -> int:
        assert self.problem.target.foil_id is not None
        return self.problem.target.foil_id

    @property
    def first(self) -> int:
        return min(self.problem.positions)

    def suffix(self) -> Suffix:
        return self.problem.suffix(first=self.first)

    def copies(self, batch: int) -> Copies:
        return Copies(self.problem, first=self.first, batch=batch)

    def patch(self, cells: Cells) -> Changes:
        """The cells set to the source's activations, in their order."""
        layer, role, neuron = cells.unbind(1)
        pos = torch.tensor(self.problem.positions)[role]
        return setting(layer, pos, neuron, self.source_acts[layer, role, neuron])


def make_pair(
    prompts: Prompts,
    destination: Prompt,
    source: Prompt,
    *,
    id: str,
    where: str,
    roles: tuple[str, ...] | None = THAT_MATTER,
    entities: tuple[str, str] = ("", ""),
    answers: tuple[int | None, int | None] = (None, None),
) -> Pair:
    """Align the prompts and find the answers: the given ones (destination's, source's), else what the model says.

    `roles` None are all aligned positions. Raises `UsageError` if both answers are the same, if nothing differs, or if
    the prompts cannot be aligned.
    """
    found = align(destination, source, where=where)
    names = tuple(found.role_of(i) for i, _ in found.pairs) if roles is None else roles
    known = {at: name for name in names if (at := found.at(name)) is not None}
    if not known:
        raise UsageError(f"the prompts have none of the positions {', '.join(names)} in common", where=where)
    places = tuple(sorted(known))
    to, of = prompts.see(destination), prompts.see(source)
    own, other = (seen.answer_id if given is None else given for seen, given in zip((to, of), answers, strict=True))
    if own == other:
        text = visible(token_strings(prompts.session.model.tokenizer, [own])[0])
        what = f"the answer to both prompts is {text!r}: there is nothing to swap"
        raise UsageError(what, where=where, next_step="Use a source with another answer")
    if to.answer_id == other:
        text = visible(token_strings(prompts.session.model.tokenizer, [other])[0])
        what = f"the destination's most likely token is {text!r} already: there is nothing to swap"
        raise UsageError(what, where=where, next_step="Give the source's answer with --target_token")
    positions = tuple(i for i, _ in places)
    target = Target(len(destination.token_ids) - 1, other, own, "pre_cap_logit", "next_token")
    problem = Problem(prompts.session.model.hf, destination.token_ids, target, positions)
    source_acts = of.acts[:, [j for _, j in places]]
    return Pair(id, entities, to, of, found, tuple(known[p] for p in places), places, problem, source_acts)


def answer_ids(prompts: Prompts, texts: tuple[str | None, str | None], *, where: str) -> tuple[int | None, int | None]:
    """Token ids of expected answers; raises `UsageError` for a text that is not one token."""
    tokenizer = prompts.session.model.tokenizer
    a, b = (None if text is None else single_token(tokenizer, text, where=where) for text in texts)
    return a, b
