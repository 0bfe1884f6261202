"""Neighbours against brute force over all pairs, in every shape of panels and tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuron_signatures.weights.neighbours import Neighbours, Search, Tile, best_of_permuted, pairs_of_panels, search

CASES = {
    "several panels": (300, [0, 100, 130, 300], Tile(32, 64), 10),
    "groups of columns": (640, [0, 640], Tile(64, 128), 10),
    "a panel smaller than a tile": (200, [0, 16, 200], Tile(64, 128), 3),
    "fewer than asked for": (12, [0, 5, 12], Tile(4, 4), 20),
    "one": (1, [0, 1], Tile(4, 4), 2),
}


def units(n: int, d: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def brute_force(rows: torch.Tensor, top: int) -> Neighbours:
    cosines = rows.double() @ rows.double().T
    sizes = cosines.abs().fill_diagonal_(-2)
    ids = sizes.argsort(dim=1, descending=True, stable=True)[:, : min(top, len(rows) - 1)]
    return Neighbours(ids, cosines.gather(1, ids))


def run(rows, starts, tile, found, *, done=0, after_pair=lambda n: None):
    def load(i: int) -> torch.Tensor:
        return rows[starts[i] : starts[i + 1]]

    search(load, starts, found, tile=tile, done=done, after_pair=after_pair, advance=lambda n: None)
    return found.found()


@pytest.mark.parametrize("case", CASES)
def test_the_nearest_of_all_pairs(case):
    n, starts, tile, top = CASES[case]
    rows = units(n)
    found = run(rows, starts, tile, Search(n, top, rows.device))
    want = brute_force(rows, top)
    width = want.ids.shape[1]
    assert torch.equal(found.ids[:, :width].long(), want.ids) and (found.ids[:, width:] == -1).all()
    torch.testing.assert_close(found.cosines[:, :width], want.cosines.float(), rtol=0, atol=1e-6)
    assert (want.cosines < 0).any() or n == 1  # the sign is kept


@pytest.mark.parametrize("tile", [Tile(4, 8), Tile(16, 32), Tile(64, 64)])
def test_ties_are_in_order(tile):
    """Axes of 8 dimensions, both signs: many cosines are exactly 1, -1 and 0."""
    generator = torch.Generator().manual_seed(1)
    axis = torch.randint(8, (96,), generator=generator)
    sign = torch.randint(2, (96,), generator=generator) * 2.0 - 1
    rows = torch.nn.functional.one_hot(axis, 8).float() * sign[:, None]
    for starts in ([0, 96], [0, 32, 64, 96]):
        found = run(rows, starts, tile, Search(96, 20, rows.device))
        want = brute_force(rows, 20)
        assert torch.equal(found.ids.long(), want.ids) and torch.equal(found.cosines.double(), want.cosines)


def test_a_search_goes_on_after_any_pair_of_panels():
    rows, starts, tile = units(160), [0, 40, 90, 160], Tile(16, 32)
    kept: list[Neighbours] = []
    found = Search(160, 5, rows.device)
    whole = run(rows, starts, tile, found, after_pair=lambda n: kept.append(found.found()))
    assert len(kept) == len(list(pairs_of_panels(3))) == 6
    for n, state in enumerate(kept, start=1):
        again = Search(160, 5, rows.device)
        again.restore(state)
        got = run(rows, starts, tile, again, done=n)
        assert torch.equal(got.ids, whole.ids) and torch.equal(got.cosines, whole.cosines)


def test_the_null_permutes_coordinates():
    """Of vectors with equal coordinates nothing changes; of one axis among 64 the largest depends on where it lands."""
    flat = torch.ones(4, 64) / 8
    rows = torch.cat([flat, torch.eye(64)[:20]])
    starts, tile = [0, 10, 24], Tile(4, 8)

    def load(i: int) -> torch.Tensor:
        return rows[starts[i] : starts[i + 1]]

    chosen = torch.tensor([0, 5, 23])
    found = best_of_permuted(load, starts, chosen, tile=tile, seed=0, advance=lambda n: None)
    assert found[0] == pytest.approx(1)  # the other flat ones; not with itself
    assert all(x == pytest.approx(1) or x == pytest.approx(1 / 8) for x in found[1:].tolist())
    again = best_of_permuted(load, starts, chosen, tile=tile, seed=0, advance=lambda n: None)
    assert torch.equal(found, again)


def test_random_directions_are_as_near_as_permuted_ones():
    rows, starts = units(400, 64), [0, 400]
    found = run(rows, starts, Tile(64, 128), Search(400, 1, rows.device))
    null = best_of_permuted(
        lambda i: rows, starts, torch.arange(400), tile=Tile(64, 128), seed=0, advance=lambda n: None
    )
    own = found.cosines.abs()[:, 0].numpy()
    assert abs(np.median(own) - np.median(null.numpy())) < 0.02
