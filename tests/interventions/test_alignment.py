"""Which positions of two prompts correspond, on prompts whose answer is visible."""

from __future__ import annotations

import pytest
from intervention_cases import prompt_of_words

from neuron_signatures.interventions.choice.alignment import align, same_positions
from neuron_signatures.runs.errors import UsageError


def of(destination: str, source: str, n_special: int = 0):
    return align(prompt_of_words(destination, n_special), prompt_of_words(source, n_special), where="--source_text")


def test_prompts_of_equal_length_are_aligned_position_by_position():
    found = of("the capital of Dallas is", "the capital of Oakland is")
    assert found.pairs == ((3, 3), (4, 4)) and found.n_shared == 3
    assert (found.destination_entity, found.source_entity) == (3, 3)
    assert found.at("entity") == (3, 3) and found.at("last") == (4, 4)
    assert found.at("entity-1") is None  # the same tokens with the same activations
    assert [found.role_of(i) for i in range(5)] == ["entity-3", "entity-2", "entity-1", "entity", "last"]


def test_equal_lengths_with_two_differences_keep_every_position_between():
    found = of("a X b Y c", "a V b W c")
    assert found.pairs == ((1, 1), (2, 2), (3, 3), (4, 4))
    assert found.at("entity") == (3, 3) and found.at("entity-2") == (1, 1)


@pytest.mark.parametrize(
    ("destination", "source", "pairs", "entity"),
    [
        # the source's entity is longer: aligned at its last token
        ("the capital of Dallas is", "the capital of San Jose is", ((3, 4), (4, 5)), (3, 4)),
        ("the capital of New York City is", "the capital of Dallas is", ((5, 3), (6, 4)), (5, 3)),
        ("in New York City it is", "in San Jose it is", ((2, 1), (3, 2), (4, 3), (5, 4)), (3, 2)),
    ],
)
def test_entities_of_different_lengths_are_aligned_at_their_last_token(destination, source, pairs, entity):
    found = of(destination, source)
    assert found.pairs == pairs and found.at("entity") == entity
    assert found.at("last") == (len(destination.split()) - 1, len(source.split()) - 1)


def test_an_entity_at_the_end_is_also_the_last_position():
    found = of("he lives in Dallas", "he lives in San Jose")
    assert found.pairs == ((3, 4),)
    assert found.at("entity") == found.at("last") == (3, 4)
    assert found.role_of(3) == "entity"


def test_inserted_words_leave_no_entity():
    found = of("the capital of Texas is", "the capital of old Texas is")
    assert (found.destination_entity, found.source_entity) == (-1, 3)
    assert found.pairs == ((3, 4), (4, 5)) and found.at("entity") is None
    assert found.role_of(3) == "last-1" and found.at("last-1") == (3, 4)


def test_words_added_at_the_end_leave_nothing_to_align():
    found = of("the capital of Texas", "the capital of Texas now")
    assert found.pairs == () and found.at("last") is None and found.at("entity") is None


def test_words_in_front_are_aligned_from_the_end_but_never_position_0():
    found = of("the capital of Texas is", "so the capital of Texas is")
    assert found.n_shared == 0 and found.pairs == ((1, 2), (2, 3), (3, 4), (4, 5))
    assert found.at("last-4") is None


def test_a_first_token_that_differs_is_not_patched():
    found = of("Dallas is big", "Oakland is big")
    assert found.pairs == ((1, 1), (2, 2))


@pytest.mark.parametrize("n_special", [0, 1])
def test_texts_with_nothing_in_common_cannot_be_aligned(n_special):
    bos = "<bos> " if n_special else ""
    with pytest.raises(UsageError, match="neither start nor end in common") as error:
        of(f"{bos}one two three", f"{bos}four five six seven", n_special)
    assert "--source_text" in str(error.value) and "\n" not in str(error.value)


def test_the_same_text_is_no_source():
    with pytest.raises(UsageError, match="the same text as the destination"):
        of("the capital of Dallas is", "the capital of Dallas is")


def test_a_prompt_aligned_with_itself():
    found = same_positions(4)
    assert found.pairs == ((1, 1), (2, 2), (3, 3)) and found.n_shared == 0
