"""The demo world: deterministic, labelled, true."""

import hashlib
import io
import operator
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from itertools import islice, pairwise

import pytest

from neuron_signatures.demo.geography import CITIES, STATES, state_of_city
from neuron_signatures.demo.invented import DOMAINS
from neuron_signatures.demo.phrasings import (
    CITY_CAPITAL,
    PHRASINGS,
    STATE_CAPITAL,
    held_out_pairs,
    is_held_out,
    phrasing_of,
)
from neuron_signatures.demo.world import SKILLS, Document, documents, facts

NUMBER = r"\d+"
OPERATIONS = {
    "+": operator.add,
    "plus": operator.add,
    "-": operator.sub,
    "minus": operator.sub,
    "*": operator.mul,
    "times": operator.mul,
}
DIGEST_PROGRAM = """
import hashlib
from neuron_signatures.demo.world import documents
print(hashlib.sha256(repr(list(documents(7, 500))).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def corpus() -> list[Document]:
    return list(documents(11, 12_000))


def test_same_seed_same_documents_whatever_the_hash_seed() -> None:
    here = hashlib.sha256(repr(list(documents(7, 500))).encode()).hexdigest()
    for hash_seed in ("0", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST_PROGRAM], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


def test_another_seed_gives_other_documents() -> None:
    assert [d.text for d in documents(1, 50)] != [d.text for d in documents(2, 50)]


def test_filters_keep_ids_and_texts() -> None:
    everything = {d.id: d for d in documents(3, 2000)}
    numeric = list(documents(3, 100, skill="mathematics"))
    assert {d.skill for d in numeric} == {"mathematics"}
    assert all(everything[d.id] == d for d in numeric)


def test_without_a_count_the_stream_is_endless() -> None:
    assert list(islice(documents(5), 300)) == list(documents(5, 300))


def test_fifty_states_with_a_capital_and_at_least_four_other_cities() -> None:
    assert len({state.name for state in STATES}) == len({state.capital for state in STATES}) == 50
    assert min(len(state.cities) for state in STATES) >= 4


def test_a_city_name_belongs_to_one_state_and_is_not_a_state_name() -> None:
    assert len(CITIES) == len(set(CITIES)) == sum(1 + len(state.cities) for state in STATES)
    assert not set(CITIES) & {state.name for state in STATES}
    assert all(city in state_of_city(city).all_cities for city in CITIES)


@pytest.mark.parametrize(
    ("city", "state", "capital"),
    [
        ("Dallas", "Texas", "Austin"),
        ("Oakland", "California", "Sacramento"),
        ("Seattle", "Washington", "Olympia"),
        ("Chicago", "Illinois", "Springfield"),
        ("Albany", "New York", "Albany"),
        ("Miami", "Florida", "Tallahassee"),
    ],
)
def test_well_known_facts(city: str, state: str, capital: str) -> None:
    assert (state_of_city(city).name, state_of_city(city).capital) == (state, capital)


def test_a_name_outside_the_world_is_an_error() -> None:
    with pytest.raises(KeyError):
        state_of_city("Paris")


def test_every_skill_and_sub_skill_occurs_under_its_own_label(corpus: list[Document]) -> None:
    seen = {(d.skill, d.sub_skill) for d in corpus}
    assert seen == {(skill, sub_skill) for skill, sub_skills in SKILLS.items() for sub_skill in sub_skills}
    assert len(SKILLS["knowledge"]) >= 4 and len(SKILLS["empathy"]) >= 6


def test_ids_are_unique_and_valid_as_file_names(corpus: list[Document]) -> None:
    assert len({d.id for d in corpus}) == len(corpus)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", d.id) for d in corpus)


def test_entities_appear_in_the_text_once_each(corpus: list[Document]) -> None:
    for document in corpus:
        assert all(name in document.text for name in document.entities), document
        assert len(set(document.entities)) == len(document.entities)


def test_geography_documents_name_their_places(corpus: list[Document]) -> None:
    """Every place that a text names as a whole word is among its entities, and nothing else is."""
    places = {*CITIES, *(state.name for state in STATES)}
    longest_first = sorted(places, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b")
    for document in [d for d in corpus if d.sub_skill == "geography"][:3000]:
        assert set(pattern.findall(document.text)) == set(document.entities), document


def test_every_phrasing_states_a_fact_and_ends_with_its_answer() -> None:
    assert len(PHRASINGS) >= 20 and len({p.template for p in PHRASINGS}) == len(PHRASINGS)
    for phrasing in PHRASINGS:
        for city in ("Dallas", "Buffalo", "Provo"):
            state = state_of_city(city)
            prompt, answer = phrasing.prompt(state, city), phrasing.answer(state, city)
            assert f"{prompt} {answer}" == phrasing.text(state, city)
            assert answer in (city, state.name, state.capital)


def test_the_bar_prompts_read_as_documented() -> None:
    texas = state_of_city("Dallas")
    city_prompt = phrasing_of(CITY_CAPITAL).prompt(texas, "Dallas")
    assert city_prompt == "The capital of the state containing Dallas is"
    assert phrasing_of(STATE_CAPITAL).prompt(texas, "Dallas") == "The capital of Texas is"


def test_held_out_pairs_never_appear_in_the_training_split() -> None:
    sentences = [phrasing.text(state_of_city(city), city) for phrasing, city in held_out_pairs()]
    pattern = re.compile(rf"({'|'.join(map(re.escape, sentences))})(?![A-Za-z ])")
    shown = [d for d in documents(0, 60_000, skill="knowledge") if pattern.search(d.text)]
    assert len(shown) > 300
    assert all(d.held_out for d in shown)
    assert not [d for d in documents(0, 20_000, train_only=True) if pattern.search(d.text)]


def test_the_bar_sentences_are_never_held_out() -> None:
    assert len(held_out_pairs()) > 200
    assert not any(is_held_out(phrasing_of(CITY_CAPITAL), city) for city in CITIES)
    assert {p.phrasing.relation for p in held_out_pairs()} == {"city_state", "city_capital"}


def test_invented_facts_are_consistent_and_separate_from_geography() -> None:
    heads = [(fact.subject, fact.relation) for fact in facts()]
    assert len(heads) == len(set(heads))
    invented = {next(iter(member.values())) for domain in DOMAINS.values() for member in domain.members}
    assert len(DOMAINS) >= 3 and not invented & {*CITIES, *(state.name for state in STATES)}


def test_mathematics_is_true(corpus: list[Document]) -> None:
    checked = [_is_true(d) for d in corpus if d.skill == "mathematics"]
    assert len(checked) > 1000 and all(checked)


def test_programs_compile_and_print_what_their_comment_says(corpus: list[Document]) -> None:
    programs = [d.text for d in corpus if d.skill == "programming"]
    assert len(programs) > 500
    for text in set(programs):
        output = io.StringIO()
        with redirect_stdout(output):
            exec(compile(text, "<document>", "exec"), {})
        claimed = re.search(r"# prints (.*)$", text)
        assert claimed and output.getvalue().split() == claimed.group(1).split(), text


def test_empathy_documents_are_answered_dialogues(corpus: list[Document]) -> None:
    dialogues = [d.text for d in corpus if d.skill == "empathy"]
    assert len(dialogues) > 500
    assert all(re.match(r"user: .+\nassistant: .+[.?](\n|$)", text) for text in dialogues)


def _is_true(document: Document) -> bool:
    check = {
        "arithmetic": _arithmetic_is_true,
        "comparison": _comparison_is_true,
        "algebra": _algebra_is_true,
        "sequences": _sequence_is_true,
    }[document.sub_skill]
    assert check(document.text), document
    return True


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(NUMBER, text)]


def _arithmetic_is_true(text: str) -> bool:
    if " more. Now " in text:
        had, got, has = _numbers(text)
        return had + got == has
    return all(_line_is_true(line) for line in text.split("\n"))


def _line_is_true(line: str) -> bool:
    if line.startswith("The sum of"):
        a, b, c = _numbers(line)
        return a + b == c
    pattern = rf"(?:Question: What is )?({NUMBER}) (\S+) ({NUMBER})(?: =| is|\? Answer:) ({NUMBER})"
    match = re.fullmatch(pattern, line)
    return bool(match) and OPERATIONS[match[2]](int(match[1]), int(match[3])) == int(match[4])


def _comparison_is_true(text: str) -> bool:
    a, b = _numbers(text)[:2]
    if text.startswith("The larger"):
        return text.endswith(f" is {max(a, b)}")
    if text.startswith("The smaller"):
        return text.endswith(f" is {min(a, b)}")
    if text.startswith("Question"):
        return text.endswith("Answer: Yes" if a > b else "Answer: No")
    return (a > b) if ("greater" in text or ">" in text) else (a < b and ("less" in text or "<" in text))


def _algebra_is_true(text: str) -> bool:
    """The equation holds for the stated solution."""
    match = re.search(r"(?:If|Solve) (.+?) = (\d+)(?:, then|\. The solution is) ([xyz]) = (\d+)$", text)
    assert match, text
    left, right, unknown, solution = match.groups()
    a, operation, b = left.replace(unknown, solution).split()
    return OPERATIONS[operation](int(a), int(b)) == int(right)


def _sequence_is_true(text: str) -> bool:
    if text.startswith("The number after"):
        terms = _numbers(text)
        return len({b - a for a, b in pairwise(terms)}) == 1
    step, *terms = _numbers(text)
    sign = -1 if "down" in text else 1
    return all(b - a == sign * step for a, b in pairwise(terms))
