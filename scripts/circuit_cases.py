"""The predictions that `check_circuits.py` explains: prompts of templates, their answers, and their references."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.circuits.template_mean import Seen, template_mean
from neuron_signatures.demo.geography import STATES, State, state_of_city
from neuron_signatures.demo.phrasings import CITY_CAPITAL, STATE_CAPITAL, Phrasing, held_out_pairs, phrasing_of
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.models.tokens import encode_text

# Countries and capitals of which SmolLM2 says the capital at once; each capital is one token.
COUNTRIES: Final = {
    "France": "Paris", "Germany": "Berlin", "Japan": "Tokyo", "Greece": "Athens", "England": "London",
    "China": "Beijing", "Sweden": "Stockholm", "Portugal": "Lisbon", "Kenya": "Nairobi", "Austria": "Vienna",
    "Italy": "Rome", "Russia": "Moscow", "Spain": "Madrid", "Cuba": "Havana", "Canada": "Ottawa", "Norway": "Oslo",
    "Ireland": "Dublin",
}  # fmt: skip
COUNTRY_CAPITAL: Final = "The capital of {} is"


@dataclass(frozen=True)
class Case:
    """A prompt, the first token of its answer and of the answer of another entity (the foil)."""

    entity: str
    """What the answer depends on: two cases of one entity have the same answer."""
    text: str
    token_ids: tuple[int, ...]
    answer_id: int
    foil_id: int
    acts: Float[Tensor, "layer pos neuron"]

    @property
    def seen(self) -> Seen:
        return Seen(self.token_ids, self.acts)

    def problem(self, model: LoadedModel, foil_id: int | None = None) -> Problem:
        last = len(self.token_ids) - 1
        target = Target(last, self.answer_id, foil_id or self.foil_id, "pre_cap_logit", "next_token")
        return Problem(model.hf, self.token_ids, target, tuple(range(last + 1)))


@dataclass(frozen=True)
class Template:
    """Cases of one template, and the cases whose mean is their reference (of other entities than a case's own)."""

    name: str
    cases: tuple[Case, ...]
    basis: tuple[Case, ...]

    def reference(self, case: Case) -> Float[Tensor, "layer pos neuron"]:
        """At each position, the mean over the positions with the same role."""
        return template_mean(case.token_ids, [c.seen for c in self.basis if c.entity != case.entity])

    def mean_of_tokens(self, case: Case) -> Float[Tensor, "layer pos neuron"]:
        """The same at every position: the mean over all tokens of these prompts but the first of each."""
        tokens = torch.cat([c.acts[:, 1:] for c in self.basis if c.entity != case.entity], dim=1)
        return tokens.mean(1, keepdim=True).expand(case.acts.shape).contiguous()


def demo_templates(model: LoadedModel, *, seed: int, most: int) -> list[Template]:
    """The 50 states by name and by a city each, and the pairs of phrasing and city held out of the model's training."""
    rng = random.Random(seed)
    city_of = {state.name: rng.choice(state.cities) for state in STATES}
    by_name, by_city = phrasing_of(STATE_CAPITAL), phrasing_of(CITY_CAPITAL)
    found = []
    for name, phrasing in (("state", by_name), ("city", by_city)):
        cases = _demo_cases(model, phrasing, [(s, city_of[s.name]) for s in STATES], rng)
        found.append(Template(f"demo: {name}", cases[:most], cases))
    held_out = [pair for pair in held_out_pairs() if pair.phrasing.relation == "city_capital"]
    for phrasing in dict.fromkeys(pair.phrasing for pair in held_out):
        own = [(state_of_city(p.city), p.city) for p in held_out if p.phrasing == phrasing]
        basis = _demo_cases(model, phrasing, [(s, city_of[s.name]) for s in STATES], rng)
        cases = _demo_cases(model, phrasing, own, rng)
        found.append(Template(f"demo: held out, {phrasing.id}", cases[: max(1, most // 5)], basis))
    return found


def dallas(model: LoadedModel) -> tuple[Case, list[Case]]:
    """The Dallas prompt in contrast to Sacramento, and all cities of the template whose prompts are as long."""
    places = [(state, city) for state in STATES for city in state.all_cities]
    cases = _demo_cases(model, phrasing_of(CITY_CAPITAL), places, random.Random(0))
    here = next(c for c, (_, city) in zip(cases, places, strict=True) if city == "Dallas")
    foil = next(c for c in cases if c.entity == "California").answer_id
    return with_foil(here, foil), [c for c in cases if len(c.token_ids) == len(here.token_ids)]


def real_template(model: LoadedModel, *, seed: int, most: int) -> Template:
    """The countries whose capital the real model says."""
    rng = random.Random(seed)
    answers = {c: encode_text(model.tokenizer, f" {capital}", prepend_bos=False)[0] for c, capital in COUNTRIES.items()}
    cases = tuple(
        _case(model, country, COUNTRY_CAPITAL.format(country), answers[country],
              rng.choice([a for a in answers.values() if a != answers[country]]), prepend_bos=False)
        for country in COUNTRIES
    )  # fmt: skip
    return Template("real: country", cases[:most], cases)


def with_foil(case: Case, foil_id: int) -> Case:
    """The same prediction in contrast to another token."""
    return replace(case, foil_id=foil_id)


def _demo_cases(
    model: LoadedModel, phrasing: Phrasing, places: Sequence[tuple[State, str]], rng: random.Random
) -> tuple[Case, ...]:
    answers = {s.name: encode_text(model.tokenizer, f" {s.capital}", prepend_bos=False)[0] for s in STATES}
    return tuple(
        _case(model, state.name, phrasing.prompt(state, city), answers[state.name],
              rng.choice([a for a in answers.values() if a != answers[state.name]]), prepend_bos=True)
        for state, city in places
    )  # fmt: skip


def _case(
    model: LoadedModel, entity: str, text: str, answer_id: int, foil_id: int, *, prepend_bos: bool
) -> Case:  # fmt: skip
    ids = tuple(encode_text(model.tokenizer, text, prepend_bos=prepend_bos))
    return Case(entity, text, ids, answer_id, foil_id, recompute(model, ids))
