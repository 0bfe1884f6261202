"""The definitions of steering on the demo model: what a change does to the site, and what an effect is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attribution_cases import loaded
from torch import Tensor

from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.site_edits import site_edited
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank, Site
from neuron_signatures.skills.steer.edits import BankWeights, Change, EditKind, RowChanges
from neuron_signatures.skills.steer.measure import Measure
from neuron_signatures.skills.steer.norms import site_norms
from neuron_signatures.skills.steer.texts import NeutralTexts

D, N = 128, 64
TEXTS = tuple(
    tuple(torch.randint(5, 2000, (n,), generator=torch.Generator().manual_seed(n)).tolist()) for n in (9, 5, 12)
)
NEUTRAL = NeutralTexts((TEXTS[1], TEXTS[2]), TEXTS[0])


def sae(site: Site = "res", layer: int = 2, *, k: int | None = 8) -> Sae:
    rng = torch.Generator().manual_seed(layer)
    decoder = torch.randn(N, D, generator=rng) / 8
    return Sae(
        "s", site, layer, "topk" if k else "standard", decoder.T.contiguous(), torch.zeros(N), decoder,
        0.1 * torch.randn(D, generator=rng), None, k, True, "test", None,
    )  # fmt: skip


def features(site: Site = "res", layer: int = 2) -> BankWeights:
    found = sae(site, layer)
    return BankWeights(Bank(SAE, site, layer, N), found.W_dec, found)


def directions(site: Site = "res", layer: int = 1) -> BankWeights:
    return BankWeights(Bank("pca", site, layer, N), torch.randn(N, D, generator=torch.Generator().manual_seed(1)))


def neurons(layer: int = 3) -> BankWeights:
    return BankWeights(Bank(NEURONS, "neuron", layer, 512), None)


def site_values(place: Place, ids: tuple[int, ...], weights: BankWeights | None = None, change: Change | None = None):
    """The tensor of a place for one text; with a change, after it."""
    hf = loaded("demo").hf
    if weights is None or change is None:
        with SiteCapture(hf, [place]) as capture:
            return capture.run(torch.tensor([ids]))[place][0].clone()
    # hooks run in the order in which they are registered
    with site_edited(hf, place, RowChanges(weights, [change])), SiteCapture(hf, [place]) as capture:
        return capture.run(torch.tensor([ids]))[place][0].clone()


def mean_logprob(ids: tuple[int, ...], weights: BankWeights | None = None, change: Change | None = None) -> float:
    """Of the tokens from the third on, by a plain forward pass of the whole model over one text."""
    return float(logprobs(ids, weights, change)[1:-1].gather(-1, torch.tensor(ids)[2:, None]).double().mean())


@torch.no_grad()
def logprobs(ids: tuple[int, ...], weights: BankWeights | None = None, change: Change | None = None) -> Tensor:
    hf, given = loaded("demo").hf, torch.tensor([ids])
    if weights is None or change is None:
        return hf(given, use_cache=False).logits[0].log_softmax(-1)
    with site_edited(hf, weights.place, RowChanges(weights, [change])):
        return hf(given, use_cache=False).logits[0].log_softmax(-1)


@pytest.mark.parametrize("site", ["res", "att", "mlp"])
def test_adding_a_feature_changes_its_site_by_its_decoder_row_of_that_length(site: Site) -> None:
    weights = features(site)
    before = site_values(weights.place, TEXTS[0])
    after = site_values(weights.place, TEXTS[0], weights, Change(7, "add", 2.5))
    row = weights.rows[7]
    assert torch.equal(after[1:], before[1:] + 2.5 * (row / row.norm()))
    assert torch.equal(after[0], before[0])


def test_the_negative_pole_of_a_direction_is_its_opposite() -> None:
    weights = directions()
    before = site_values(weights.place, TEXTS[0])
    up, down = (site_values(weights.place, TEXTS[0], weights, Change(u, "add", 1.5)) for u in (4, N + 4))
    torch.testing.assert_close(up[1:] - before[1:], before[1:] - down[1:])


def test_a_feature_that_is_clamped_to_its_own_value_changes_nothing() -> None:
    """The error of the reconstruction is kept: x + (f' - f) W_dec is x where f' is f."""
    weights = features()
    x = torch.randn(1, 6, D)
    f = weights.sae.encode(x)
    unit = int((f[0, 3] > 0).nonzero()[0])
    same = RowChanges(weights, [Change(unit, "clamp", float(f[0, 3, unit]))])(x, 0)
    assert torch.equal(same[0, 3], x[0, 3])
    assert not torch.allclose(weights.sae.decode(f), x, atol=0.1)


def test_clamping_sets_the_feature_and_leaves_the_rest_of_the_tensor() -> None:
    found = sae(k=None)
    basis, _ = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))
    rows = basis[:N]  # orthonormal: a feature can be set without changing others
    exact = Sae("s", "res", 2, "standard", rows.T.contiguous(), torch.zeros(N), rows, torch.zeros(D), None, None, True,
                "test", None)  # fmt: skip
    assert found.d_sae == exact.d_sae
    weights = BankWeights(Bank(SAE, "res", 2, N), exact.W_dec, exact)
    x = torch.randn(1, 5, D)
    after = RowChanges(weights, [Change(3, "clamp", 4.0)])(x, 0)
    before_f, after_f = exact.encode(x), exact.encode(after)
    active = (before_f[0, 1:, 3] > 0).nonzero()[:, 0] + 1
    torch.testing.assert_close(after_f[0, active, 3], torch.full((len(active),), 4.0))
    others = [i for i in range(N) if i != 3]
    torch.testing.assert_close(after_f[..., others], before_f[..., others])


@pytest.mark.parametrize(("unit", "sign"), [(40, 1), (552, -1)])
def test_a_neuron_is_raised_or_set_towards_its_pole(unit: int, sign: int) -> None:
    weights = neurons()
    before = site_values(weights.place, TEXTS[0])
    raised = site_values(weights.place, TEXTS[0], weights, Change(unit, "add", 3.0))
    changed = before.clone()
    changed[1:, 40] += sign * 3.0
    assert torch.equal(raised, changed)
    set_to = site_values(weights.place, TEXTS[0], weights, Change(unit, "clamp", 3.0))
    changed[1:, 40] = sign * 3.0
    assert torch.equal(set_to, changed)


@pytest.mark.parametrize(
    ("weights", "edit", "value"),
    [(features(), "add", 4.0), (features("att"), "add", 2.0), (features("mlp", 0), "add", 2.0),
     (features(), "clamp", 6.0), (neurons(), "add", 3.0), (neurons(0), "clamp", 5.0), (directions(), "add", 3.0)],
)  # fmt: skip
def test_an_effect_equals_the_difference_of_two_forward_passes(
    weights: BankWeights, edit: EditKind, value: float
) -> None:
    """Different units in the rows of one batch, from kept outputs of earlier layers, with padded texts."""
    changes = [Change(unit, edit, value * (1 + unit / 100)) for unit in (3, 17, 20, 31, 50)]
    measure = Measure(loaded("demo"), TEXTS, NEUTRAL, rows=7)
    found = measure.responses(weights, changes)
    for change, response in zip(changes, found, strict=True):
        want = [mean_logprob(ids, weights, change) - mean_logprob(ids) for ids in TEXTS]
        np.testing.assert_allclose(response.texts, want, atol=2e-5)
        kl = [
            (p.exp() * (p - q)).sum(-1)[1:-1]
            for p, q in ((logprobs(ids), logprobs(ids, weights, change)) for ids in (*NEUTRAL.prompts, NEUTRAL.prose))
        ]
        assert response.kl == pytest.approx(float(torch.cat(kl).mean()), abs=2e-5)
        nll = mean_logprob(NEUTRAL.prose) - mean_logprob(NEUTRAL.prose, weights, change)
        assert response.perplexity_ratio == pytest.approx(math.exp(nll), abs=2e-5)
        alone = measure.responses(weights, [change])[0]
        np.testing.assert_allclose(response.texts, alone.texts, atol=1e-5)
    np.testing.assert_allclose(measure.clean(), [mean_logprob(ids) for ids in TEXTS], atol=1e-5)


def test_the_change_of_a_set_of_tokens_is_that_of_the_log_of_their_probability_together() -> None:
    weights, change, sets = features(), Change(3, "add", 2.0), ((7, 9, 400), (12,))
    [found] = Measure(loaded("demo"), TEXTS, None, rows=8, token_sets=sets).responses(weights, [change])
    assert found.tokens is not None and found.tokens.shape == (len(TEXTS), 2)
    for at, ids in enumerate(TEXTS):
        before, after = (logprobs(ids, *more)[1:-1].double() for more in ((), (weights, change)))
        for number, tokens in enumerate(sets):
            masses = [x[:, list(tokens)].logsumexp(-1).mean() for x in (before, after)]
            assert found.tokens[at, number] == pytest.approx(float(masses[1] - masses[0]), abs=2e-5)


def test_a_change_equals_an_edit_of_stage_3() -> None:
    """On the bridge, at the hook points of transformer-lens."""
    model, ids = loaded("demo"), TEXTS[2]
    session = Session(model, ids)
    later = tuple(range(1, len(ids)))
    res, neuron = directions(), neurons()
    cases = [
        (res, Change(5, "add", 3.0), Edit(1, (), later, "direction", tuple((3.0 * res.direction(5)).tolist()))),
        (neuron, Change(40, "add", 2.0), Edit(3, (40,), later, "add", 2.0)),
        (neuron, Change(552, "clamp", 2.0), Edit(3, (40,), later, "set", -2.0)),
    ]
    for site in ("att", "mlp"):
        weights = features(site)
        vector = tuple((2.0 * weights.direction(9)).tolist())
        cases.append((weights, Change(9, "add", 2.0), Edit(2, (), later, "direction", vector, site=site)))
    for weights, change, edit in cases:
        want = session.logits(ids, [edit]).log_softmax(-1)
        torch.testing.assert_close(logprobs(ids, weights, change), want, rtol=1e-4, atol=1e-4)


def test_a_dose_without_finite_logits_is_undefined() -> None:
    weights = directions()
    found = Measure(loaded("demo"), TEXTS, NEUTRAL, rows=8).responses(
        weights, [Change(3, "add", 1.0), Change(3, "add", 1e39), Change(4, "add", 1.0)]
    )
    assert np.isfinite(found[0].texts).all() and np.isfinite(found[2].texts).all()
    assert np.isnan(found[1].texts).all() and math.isnan(found[1].kl) and math.isnan(found[1].perplexity_ratio)


def test_the_norm_of_a_site_leaves_the_first_position_out() -> None:
    places = [Place("res", 1), Place("att", 2)]
    found = site_norms(loaded("demo"), TEXTS, places, rows=2)
    for place in places:
        norms = torch.cat([site_values(place, ids)[1:].double().norm(dim=-1) for ids in TEXTS])
        assert found[place] == pytest.approx(float(norms.mean()), rel=1e-5)


def test_a_direction_of_zeros_is_refused() -> None:
    weights = BankWeights(Bank("pca", "res", 1, N), torch.zeros(N, D))
    with pytest.raises(UsageError, match="its direction is zero"):
        weights.direction(2)
