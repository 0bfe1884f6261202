"""Alignment of prompts of one template, and the roles of their positions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.circuits.groups.align import align, common_span, roles
from neuron_signatures.runs.errors import UsageError

DALLAS = [2, 10, 11, 50, 12]
SAN_ANTONIO = [2, 10, 11, 60, 61, 12]
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=8)


def test_the_entity_is_aligned_from_its_end():
    assert align(DALLAS, SAN_ANTONIO) == [(0, 0), (1, 1), (2, 2), (3, 4), (4, 5)]
    assert align(SAN_ANTONIO, DALLAS) == [(0, 0), (1, 1), (2, 2), (4, 3), (5, 4)]
    assert align(DALLAS, DALLAS) == [(i, i) for i in range(5)]


def test_a_repeated_token_is_not_counted_at_both_ends():
    assert common_span([[1, 1, 1], [1, 1]]) == (2, 0)
    assert align([1, 7, 1], [1, 1]) == [(0, 0), (2, 1)]


def test_roles_count_from_the_ends():
    assert roles([DALLAS, SAN_ANTONIO]) == [
        ("start+0", "start+1", "start+2", "entity-1", "end-1"),
        ("start+0", "start+1", "start+2", "entity-2", "entity-1", "end-1"),
    ]


def test_prompts_without_anything_in_common_have_no_roles():
    with pytest.raises(UsageError, match="no more than their first token in common"):
        roles([[1, 2], [3, 4]])
    with pytest.raises(UsageError, match="no more than their first token"):
        roles([[1, 2], [1, 4]])


@given(tokens, tokens)
def test_pairs_ascend_and_every_equal_end_is_in_one(a, b):
    pairs = align(a, b)
    assert all(x.a < y.a and x.b < y.b for x, y in pairwise(pairs))
    assert len(pairs) == min(len(a), len(b))
    assert [(p.b, p.a) for p in pairs] == [tuple(p) for p in align(b, a)]


@given(st.lists(tokens, min_size=1, max_size=4))
def test_every_position_has_one_role_and_equal_roles_of_a_template_have_equal_tokens(prompts):
    if not common_span(prompts).is_template:
        return
    found = roles(prompts)
    assert [len(r) for r in found] == [len(p) for p in prompts]
    assert all(len(set(r)) == len(r) for r in found)
    by_role: dict[str, set[int]] = {}
    for names, ids in zip(found, prompts, strict=True):
        for name, id_ in zip(names, ids, strict=True):
            by_role.setdefault(name, set()).add(id_)
    assert all(len(ids) == 1 for name, ids in by_role.items() if not name.startswith("entity"))
