"""Which shares of heads are stored, by hand-made shares."""

from __future__ import annotations

import pytest
import torch

from neuron_signatures.circuits.graph.heads import MOST_HEADS, stored_heads
from neuron_signatures.runs.circuits.graph import Edge


def test_shares_of_one_percent_of_the_weight_are_stored_and_the_others_are_summed() -> None:
    shares = torch.tensor([[[0.0, 1.5], [-0.019, 0.021]], [[0.0, 0.0], [0.0, 0.0]]])
    found = stored_heads([Edge("a", "b", -2.0), Edge("a", "c", 0.0)], shares)
    assert [(h.source, h.target, h.layer, h.head) for h in found.heads] == [("a", "b", 0, 1), ("a", "b", 1, 1)]
    assert [h.weight for h in found.heads] == pytest.approx([1.5, 0.021])
    assert [e.other_heads for e in found.edges] == [pytest.approx(-0.019), 0.0]
    assert found.n_left_out == 1 and found.facts()["n_stored"] == 2


def test_an_edge_whose_parts_cancel_has_its_largest_heads() -> None:
    shares = torch.linspace(-1, 1, 4 * 50).reshape(1, 4, 50)
    found = stored_heads([Edge("a", "b", 1e-6)], shares)
    assert len(found.heads) == MOST_HEADS and found.n_left_out == 4 * 50 - MOST_HEADS
    stored = {(h.layer, h.head): h.weight for h in found.heads}
    left = [float(shares[0, i, j]) for i in range(4) for j in range(50) if (i, j) not in stored]
    assert max(map(abs, left)) <= min(map(abs, stored.values()))
    assert found.edges[0].other_heads == pytest.approx(sum(left), abs=1e-6)
    assert sum(stored.values()) + (found.edges[0].other_heads or 0.0) == pytest.approx(float(shares.sum()), abs=1e-6)
