"""Edges, shares of heads and frozen changes against passes in which everything else is held constant."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from attribution_cases import TARGET_POS, loaded, problem_of, shape_of, target_of
from torch import Tensor, nn

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.tracing import frozen_change, head_shares, incoming
from neuron_signatures.circuits.tracing.passes import cut_pass
from neuron_signatures.circuits.tracing.totals import effects
from neuron_signatures.circuits.types import EmbeddingAt, NeuronAt, Row, Source
from neuron_signatures.models.capture import decoder_layers, output_projections
from neuron_signatures.models.relevance import eager_attention
from neuron_signatures.models.residual import attention, final_norm, layer_norms
from neuron_signatures.models.sites import attention_out
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import silent

SOURCES: list[Source] = [NeuronAt(0, 5, 7), NeuronAt(0, 7, 30), NeuronAt(1, 5, 2), EmbeddingAt(0), EmbeddingAt(6)]
ROWS: list[Row] = [NeuronAt(1, 7, 4), NeuronAt(2, 7, 1), NeuronAt(2, TARGET_POS, 40), None]
EDGES: list[tuple[Source, Row]] = [(s, t) for s in SOURCES for t in ROWS]


def reference_of(name: str, size: float = 1.0) -> Tensor:
    shape = shape_of(name)
    return size * torch.randn(shape.n_layers, TARGET_POS + 1, shape.d_mlp, generator=torch.Generator().manual_seed(3))


class Frozen:
    """The prompt with the norms' scales, attention patterns and neurons of its own pass, for edited passes."""

    def __init__(self, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
        self.problem, self.hf = problem, problem.hf
        self._patterns: dict[nn.Module, Tensor] = {}
        self._scales: dict[nn.Module, Tensor] = {}
        self.acts: list[Tensor] = []
        own = sys.modules[type(attention(decoder_layers(self.hf)[0])).__module__]
        plain = own.eager_attention_forward

        def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
            out, pattern = plain(module, query, key, value, mask, **kwargs)
            if module not in self._patterns:
                self._patterns[module] = pattern
                return out, pattern
            kept = self._patterns[module]
            groups = kept.shape[1] // value.shape[1]
            return (kept @ value.repeat_interleave(groups, 1)).transpose(1, 2).contiguous(), kept

        monkeypatch.setattr(own, "eager_attention_forward", attend)
        self.acts, self.value = self._run(None, None)

    def changed(self, source: Source, reference: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each layer's activations as computed, and f, with the source set to its reference."""
        return self._run(source, reference)

    @torch.no_grad()
    def _run(self, source: Source | None, reference: Tensor | None) -> tuple[list[Tensor], Tensor]:
        seen: list[Tensor] = []

        def edit(layer: int, acts: Tensor) -> Tensor:
            seen.append(acts[0])
            if not self.acts:
                return acts
            held = self.acts[layer].clone()
            if isinstance(source, NeuronAt) and source.layer == layer and reference is not None:
                held[source.pos, source.neuron] = reference[source]
            return held[None]

        with self._hooked(source), eager_attention(self.hf):
            return seen, self.problem.value(self.problem.suffix().run(1, edit))[0]

    @contextlib.contextmanager
    def _hooked(self, source: Source | None) -> Iterator[None]:
        def norm(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
            x = args[0]
            centred = x - x.mean(-1, keepdim=True) if type(module).__name__ == "LayerNorm" else x
            bias = module.bias if getattr(module, "bias", None) is not None else 0.0
            if module not in self._scales:
                self._scales[module] = (out - bias) / centred
                return out
            return centred * self._scales[module] + bias

        def embedding(_: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> Any:
            x = (args[0] if args else kwargs["hidden_states"]).clone()
            if isinstance(source, EmbeddingAt):
                x[0, source.pos] = 0
            return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

        handles = [m.register_forward_hook(norm) for m in [*layer_norms(self.hf), final_norm(self.hf)]]
        handles.append(decoder_layers(self.hf)[0].register_forward_pre_hook(embedding, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "phi", "qwen3"])
def test_frozen_changes_are_those_of_a_frozen_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, reference = problem_of(loaded(name).hf, target_of(name)), reference_of(name)
    got = frozen_change(problem, EDGES, reference)
    frozen = Frozen(problem, monkeypatch)
    before, f = frozen.acts, frozen.value
    for source in SOURCES:
        after, f_after = frozen.changed(source, reference)
        for row in ROWS:
            want = f - f_after if row is None else (before[row.layer] - after[row.layer])[row.pos, row.neuron]
            value = got[EDGES.index((source, row))]
            assert float(value) == pytest.approx(float(want), abs=2e-5)
    assert float(got.abs().max()) > 0.01


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "opt"])
def test_frozen_changes_of_the_target_are_its_edges(name: str) -> None:
    problem, reference = problem_of(loaded(name).hf, target_of(name)), reference_of(name)
    got = frozen_change(problem, [(s, None) for s in SOURCES], reference)
    neurons = [s for s in SOURCES if isinstance(s, NeuronAt)]
    edges = incoming(problem, [None], neurons, reference)
    assert torch.allclose(got[:3], edges.neurons[0], atol=1e-6)
    assert torch.allclose(got[3:], edges.embeddings[0, [0, 6]], atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "gpt2",
        "gemma2",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("phi", "qwen3", "opt", "gpt_neox")),
    ],
)
def test_the_share_of_a_head_is_what_is_lost_with_the_head_constant(name: str) -> None:
    hf = loaded(name).hf
    problem, reference = problem_of(hf, target_of(name)), reference_of(name)
    got = head_shares(problem, EDGES, reference)
    assert got.shape == (len(EDGES), shape_of(name).n_layers, 4)
    neurons = [s for s in SOURCES if isinstance(s, NeuronAt)]

    def table() -> Tensor:
        with cut_pass(problem) as found:
            change = found.plain_acts() - reference
            got = effects(found, ROWS, neurons, change, memory=2**28, bar=silent("rows", len(ROWS)))
        return torch.cat([got.neurons, got.embeddings[:, [0, 6]]], 1)  # [row source]

    whole = table()
    edges = incoming(problem, ROWS, neurons, reference)
    assert torch.allclose(whole, torch.cat([edges.neurons, edges.embeddings[:, [0, 6]]], 1), atol=1e-6)
    for layer in range(len(output_projections(hf))):
        for head in (0, 3):

            def hold(_: nn.Module, args: tuple[Tensor], head: int = head) -> tuple[Tensor]:
                parts = list(args[0].chunk(4, -1))
                parts[head] = parts[head].detach()
                return (torch.cat(parts, -1),)

            handle = attention_out(hf, layer).register_forward_pre_hook(hold)
            try:
                want = whole - table()
            finally:
                handle.remove()
            assert torch.allclose(got[:, layer, head], want.T.flatten(), atol=2e-6)
    assert float(got.abs().max()) > 1e-3


def test_edges_that_do_not_sum_to_the_row_are_refused() -> None:
    """As those of an architecture with a path that the rules do not know; here, one that has no gradient."""
    hf = loaded("llama").hf
    handle = attention_out(hf, 1).register_forward_pre_hook(lambda _, args: (args[0].detach(),))
    try:
        with pytest.raises(UsageError, match=r"edges do not sum to what they lead into .* not supported for circuits"):
            incoming(problem_of(hf, target_of("llama")), ROWS, [], reference_of("llama"))
    finally:
        handle.remove()


def test_shares_do_not_depend_on_the_memory_limit() -> None:
    problem, reference = problem_of(loaded("llama").hf, target_of("llama")), reference_of("llama")
    many, few = (head_shares(problem, EDGES, reference, memory=m) for m in (2**28, 1))
    assert torch.allclose(many, few, atol=1e-6) and bool(many.any())


def test_an_edge_between_positions_passes_through_heads_alone() -> None:
    """Into the next layer, with one attention between them, the shares sum to the edge."""
    problem, reference = problem_of(loaded("llama").hf, target_of("llama")), reference_of("llama")
    source, row = NeuronAt(1, 5, 2), NeuronAt(2, 7, 1)
    edge = incoming(problem, [row], [source], reference).neurons[0, 0]
    shares = head_shares(problem, [(source, row)], reference)[0]
    assert float(shares.sum()) == pytest.approx(float(edge), rel=1e-4) and abs(float(edge)) > 1e-5
    assert bool(shares[2].all()) and not bool(shares[:2].any())


def test_models_in_low_precision_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hf = loaded("llama").hf
    problem = problem_of(hf, target_of("llama"))
    monkeypatch.setattr(hf.get_input_embeddings().weight, "data", hf.get_input_embeddings().weight.data.bfloat16())
    with pytest.raises(UsageError, match="need a model in float32, not bfloat16"):
        incoming(problem, [None], [], reference_of("llama"))
