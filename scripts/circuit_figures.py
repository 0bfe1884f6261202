"""The figures of `check_circuits.py`: what was measured, its bar, and what it was measured on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from circuit_bars import (
    FOLLOWS,
    Traced,
    agreement_of,
    curves_of,
    frozen_agreement,
    share_between,
    strongest_units,
    swaps_of,
    trace,
)
from circuit_cases import Case, Template, dallas, demo_templates, real_template, with_foil
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.circuits.checks.curves import CurvePoint, Curves
from neuron_signatures.circuits.checks.settings import CurveSettings, SwapSettings
from neuron_signatures.circuits.checks.swaps import Swap
from neuron_signatures.circuits.graph.facts import shown_share
from neuron_signatures.circuits.graph.paths import strongest_paths
from neuron_signatures.circuits.template_mean import template_mean
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.circuits.graph import Graph

DEMO_UNITS: Final = 5 * 9 * 512
"""Neurons at positions of the Dallas prompt."""


class Settings(NamedTuple):
    """`most` prompts per template, `k` units per set, `n_random` random sets per prompt, `n_groups` per swap."""

    most: int
    k: int
    n_random: int
    n_groups: int
    seed: int


class Figure(NamedTuple):
    """`bar` is what the value must reach, None for figures without one; an undefined value misses its bar."""

    what: str
    value: float | None
    bar: tuple[str, float] | None
    note: str

    @property
    def passed(self) -> bool | None:
        """None without a bar."""
        if self.bar is None:
            return None
        sign, limit = self.bar
        return self.value is not None and (self.value >= limit if sign == ">=" else self.value <= limit)


def demo_figures(model: LoadedModel, s: Settings) -> Iterator[Figure]:
    """Sets on every template, then the graph of the Dallas prompt and its group."""
    by_name, by_city, *held_out = demo_templates(model, seed=s.seed, most=s.most)
    yield from _set_figures(model, "demo, 50 states by name", [by_name], s, bars=True)
    yield from _set_figures(model, "demo, 50 states by a city", [by_city], s, bars=True)
    yield from _set_figures(model, "demo, held-out cities", held_out, s, bars=True)
    yield from _dallas_figures(model, s)


def real_figures(model: LoadedModel, s: Settings) -> Iterator[Figure]:
    """Sets, and the graph of the first country with its group; without bars."""
    template = real_template(model, seed=s.seed, most=s.most)
    yield from _set_figures(model, "real, capitals of countries", [template], s, bars=False)
    first, *others = template.cases
    name, reference = f"real, {first.entity}", template.reference(first)
    traced = trace(model, first, reference)
    yield from _graph_figures(model, name, traced, bars=False)
    settings = SwapSettings(s.n_groups, s.seed)
    swaps = swaps_of(model, traced, others, traced.neurons, settings)
    yield from _swap_figures(f"{name}: one graph, all {len(traced.neurons)} neurons", swaps, bars=False)
    contrasted = [with_foil(first, other.answer_id) for other in others]
    k = _same_share(traced, s.k)
    swaps = []
    for case, other in zip(contrasted, others, strict=True):
        members = strongest_units(model, case, reference, k)
        swaps += swaps_of(model, Traced(case, traced.graph, reference), [other], members, settings)
    yield from _swap_figures(f"{name} rather than each other country: the {k} strongest units", swaps, bars=False)


def _same_share(traced: Traced, k: int) -> int:
    """As many units as have the share of all that `k` have on the demo model, for a prompt of this model."""
    return round(k * traced.reference.numel() / DEMO_UNITS)


def _set_figures(
    model: LoadedModel, name: str, templates: Sequence[Template], s: Settings, *, bars: bool
) -> Iterator[Figure]:
    settings = CurveSettings(tuple(sorted({50, 100, s.k, 500, 1000, 2000, 5000})), (s.k, 2000), s.n_random, s.seed)
    if bars:
        settings = replace(settings, sizes=tuple(k for k in settings.sizes if k <= 500))
    found = [c for template in templates for c in curves_of(model, template, settings)]
    controlled = sorted(set(settings.control_sizes) & set(settings.sizes))
    anywhere = replace(settings, sizes=tuple(controlled), matched="layer")
    by_layer = [c for template in templates for c in curves_of(model, template, anywhere)]
    for k in controlled:
        yield from _control_figures(f"{name}, K = {k}", found, k, bars=bars)
        yield from _random_figures(f"{name}, K = {k}, random sets by layer", by_layer, k, bars=bars)
        yield from _random_figures(f"{name}, K = {k}, random sets by layer and position", found, k, bars=False)
    yield from _curve_figures(name, found)
    plain = replace(settings, control_sizes=())
    by_tokens = [c for template in templates for c in curves_of(model, template, plain, by_role=False)]
    yield from _curve_figures(f"{name}, reference the mean over all tokens", by_tokens)


def _control_figures(where: str, found: Sequence[Curves], k: int, *, bars: bool) -> Iterator[Figure]:
    """Sets of k units, and random sets."""
    scored = [p for c in found for p in c.points if p.k == k and p.faithfulness is not None]
    kept, left = ([float(getattr(p, f) or 0.0) for p in scored] for f in ("faithfulness", "complement"))
    n = f"{len(scored)} of {len(found)} prompts are scored"
    yield Figure(f"{where}: faithfulness", _mean(kept), (">=", 0.9) if bars else None, f"{n}; {_spread(kept)}")
    yield Figure(f"{where}: complement", _mean(left), ("<=", 0.25) if bars else None, _spread(left))


def _random_figures(where: str, found: Sequence[Curves], k: int, *, bars: bool) -> Iterator[Figure]:
    """The random sets of k units."""
    scored = [p for c in found for p in c.points if p.k == k and p.faithfulness is not None]
    random = [p.random for p in scored if p.random]
    yield Figure(
        f"{where}: faithfulness", _mean([r.mean for r in random]), ("<=", 0.1) if bars else None,
        f"{random[0].n if random else 0} sets per prompt; sd {_number(_mean([r.sd for r in random]))}, highest p "
        f"{_number(max((r.p for r in random), default=None))}",
    )  # fmt: skip
    yield Figure(
        f"{where}: complement", _mean([p.complement_random.mean for p in scored if p.complement_random]),
        None, f"highest p {_number(max((p.complement_random.p for p in scored if p.complement_random), default=None))}",
    )  # fmt: skip


def _curve_figures(name: str, found: Sequence[Curves]) -> Iterator[Figure]:
    for k in sorted({p.k for c in found for p in c.points}):
        here: list[CurvePoint] = [p for c in found for p in c.points if p.k == k and p.faithfulness is not None]
        left = _number(_mean([p.complement or 0.0 for p in here]))
        yield Figure(f"{name}, K = {k}: kept", _mean([p.faithfulness or 0.0 for p in here]), None, f"complement {left}")


def _dallas_figures(model: LoadedModel, s: Settings) -> Iterator[Figure]:
    here, cases = dallas(model)
    basis = [c for c in _one_each(cases, s.seed) if c.entity != here.entity]
    reference = template_mean(here.token_ids, [c.seen for c in basis])
    traced = trace(model, here, reference)
    yield from _graph_figures(model, "demo, Dallas", traced, bars=True)
    by_tokens = Template("", (here,), tuple(basis)).mean_of_tokens(here)
    name = "demo, Dallas, reference the mean over all tokens"
    yield from _agreement_figures(model, name, trace(model, here, by_tokens), bars=False)
    share = share_between(cases)
    yield _dallas_path(traced.graph, share)
    group = [n for n in traced.neurons if float(share[n]) >= FOLLOWS]
    settings = SwapSettings(s.n_groups, s.seed)
    name = f"demo, Dallas: one graph, {len(group)} of {len(traced.neurons)} neurons follow the state"
    yield from _swap_figures(name, swaps_of(model, traced, basis[: s.most], group, settings), bars=False)
    swaps, sizes = [], []
    for other in basis[: s.most]:
        own = trace(model, with_foil(here, other.answer_id), reference)
        group = [n for n in own.neurons if float(share[n]) >= FOLLOWS]
        sizes.append(len(group))
        swaps += swaps_of(model, own, [other], group, settings)
    name = f"demo, Dallas rather than each other city: {min(sizes)} to {max(sizes)} neurons"
    yield from _swap_figures(name, swaps, bars=True)


def _dallas_path(graph: Graph, share: Float[Tensor, "layer pos neuron"]) -> Figure:
    """Whether the strongest path from the token of the city to the target is over neurons that follow the state."""
    paths = [path for path in strongest_paths(graph) if path.nodes[0].token == " Dallas"]
    middle = [n for path in paths for n in path.nodes[1:-1]]
    shares = [float(share[n.layer, n.pos, n.neuron or 0]) for n in middle]
    note = " -> ".join([*(f"{n.name}@{n.pos}" for n in middle), *(f"({path.effect:+.2f} logits)" for path in paths)])
    what = "demo, Dallas: least share of variance between states on the strongest path from Dallas"
    return Figure(what, min(shares, default=None), (">=", FOLLOWS), note)


def _graph_figures(model: LoadedModel, name: str, traced: Traced, *, bars: bool) -> Iterator[Figure]:
    graph = traced.graph
    n_shown = sum(n.kind not in ("rest", "constant") for n in graph.nodes)
    size = f"{len(traced.neurons)} neurons, {len(graph.nodes)} nodes with rest, {len(graph.edges)} edges"
    yield Figure(f"{name}: nodes other than rest", n_shown, ("<=", 100) if bars else None, size)
    shares = [x for n in graph.nodes if (x := shown_share(n)) is not None]
    yield Figure(f"{name}: median share of Σ|E| from shown nodes other than rest", float(np.median(shares)),
                 (">=", 0.5) if bars else None, f"{len(shares)} nodes with incoming edges")  # fmt: skip
    yield Figure(f"{name}: paths over neurons from tokens", len(strongest_paths(graph)), None, _paths(graph))
    frozen = frozen_agreement(model, traced)
    yield Figure(f"{name}: {frozen.what}, half rule", frozen.pearson, (">=", 0.95) if bars else None,
                 f"Pearson; Spearman {_number(frozen.spearman)}, n {frozen.n}")  # fmt: skip
    yield from _agreement_figures(model, name, traced, bars=bars)


def _agreement_figures(model: LoadedModel, name: str, traced: Traced, *, bars: bool) -> Iterator[Figure]:
    for found in agreement_of(model, traced):
        barred = bars and found.predictor == "plain gradient"
        yield Figure(f"{name}: {found.what} against live ablations, {found.predictor}", found.pearson,
                     (">=", 0.9) if barred else None,
                     f"Pearson; Spearman {_number(found.spearman)}, n {found.n}")  # fmt: skip


def _swap_figures(name: str, swaps: Sequence[Swap], *, bars: bool) -> Iterator[Figure]:
    random = [x.random for x in swaps if x.random]
    flips = [x.random_flip_share for x in swaps if x.random_flip_share is not None]
    yield Figure(f"{name}: swaps that flip the answer to the other's", _mean([x.flipped for x in swaps]),
                 (">=", 0.8) if bars else None,
                 f"{len(swaps)} other prompts; the answer is another one in "
                 f"{_number(_mean([x.after_id != x.before_id for x in swaps]))}; moved by "
                 f"{_number(_mean([x.moved for x in swaps]))} logits")  # fmt: skip
    yield Figure(f"{name}: flips by random groups with the same norms", _mean(flips), ("<=", 0.05) if bars else None,
                 f"{random[0].n if random else 0} per swap; moved by {_number(_mean([r.mean for r in random]))}, sd "
                 f"{_number(_mean([r.sd for r in random]))}, highest p "
                 f"{_number(max((r.p for r in random), default=None))}")  # fmt: skip


def _paths(graph: Graph) -> str:
    """The strongest path of each of the tokens of which the strongest paths are."""
    return "; ".join(
        f"{' -> '.join(repr(n.token) if n.token else f'{n.name}@{n.pos}' for n in path.nodes)} ({path.effect:+.2f})"
        for path in strongest_paths(graph)[:3]
    )


def _one_each(cases: Sequence[Case], seed: int) -> list[Case]:
    """One case of each entity."""
    rng = random.Random(seed)
    return [rng.choice([c for c in cases if c.entity == name]) for name in dict.fromkeys(c.entity for c in cases)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none is scored"
    return f"sd {np.std(values):.3f}, {min(values):.2f} to {max(values):.2f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
