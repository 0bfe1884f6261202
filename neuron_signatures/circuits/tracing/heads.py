"""The part of each direct edge that passes through each attention head.

    share_st(l, h) = (a_s - ā_s) Σ_pos ∂ã_t/∂z_lh · ∂z_lh/∂a_s

z_lh is what head h of layer l gives to the attention's output projection, at every position, with everything constant
that is constant for the edge. So a share is E_st minus E_st with z_lh constant. A path through several heads is in the
share of each, and a path through none (the residual stream) in none.

∂ã_t/∂z is a batch of gradients per target. ∂z/∂a_s is one per source: the gradients by the sources are linear in the
gradients by z that they are computed from, and their derivative by these is it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.tracing.batches import DEFAULT_MEMORY, pull, rows_at_once
from neuron_signatures.circuits.tracing.passes import Pass, cut_pass
from neuron_signatures.circuits.types import EmbeddingAt, Row, Source
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.weights import output_weight
from neuron_signatures.runs.progress import ProgressOf, silent

End = TypeVar("End")


def head_shares(
    problem: Problem,
    edges: Sequence[tuple[Source, Row]],
    reference: Float[Tensor, "layer pos neuron"],
    *,
    memory: int = DEFAULT_MEMORY,
    progress: ProgressOf = silent,
) -> Float[Tensor, "edge layer head"]:
    """Shares of every head in `edges`, float32 on the CPU. Errors and `memory` as of `incoming`.

    Derivatives by all heads are kept for as many targets and sources as fit into half of `memory` each.
    """
    sources, rows = list(dict.fromkeys(s for s, _ in edges)), list(dict.fromkeys(t for _, t in edges))
    work = work_on(problem.hf, "shares of heads", problem.token_ids)
    with memory_faults(work), cut_pass(problem, heads=True) as found, progress("edges", len(edges)) as bar:
        shares = _Shares(found, reference, memory)
        out = torch.zeros(len(edges), found.n_layers, shares.n_heads)
        for some_rows in shares.blocks(rows):
            for some_sources in shares.blocks(sources):
                here = [i for i, (s, t) in enumerate(edges) if s in some_sources and t in some_rows]
                if here:
                    pairs = [(some_rows[edges[i][1]], some_sources[edges[i][0]]) for i in here]
                    shares.fill(out, here, pairs, list(some_rows), list(some_sources))
                    bar.advance(len(here))
    return out


class _Shares:
    """Derivatives of targets by heads, and of heads by sources."""

    def __init__(self, found: Pass, reference: Tensor, memory: int) -> None:
        self._found, self._memory = found, memory
        acts = found.plain_acts()
        self._change = acts - reference.to(acts)
        self._weights = [output_weight(p) for p in output_projections(found.problem.hf)]
        self.n_heads: int = found.problem.hf.config.get_text_config().num_attention_heads
        self._onward = [torch.zeros_like(z, requires_grad=True) for z in found.heads]
        with torch.enable_grad():
            self._by_source = torch.autograd.grad(
                found.heads,
                [found.scales.embedding, *found.outputs],
                self._onward,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        self._rows: tuple[list[Row], list[Tensor]] | None = None

    def blocks(self, ends: Sequence[End]) -> Iterator[dict[End, int]]:
        """Parts of `ends` whose derivatives by all heads fit into half of the memory, numbered."""
        size = sum(z.numel() * z.element_size() for z in self._found.heads)
        n = max(1, self._memory // 2 // size)
        for start in range(0, len(ends), n):
            yield {end: i for i, end in enumerate(ends[start : start + n])}

    def fill(
        self, out: Tensor, here: list[int], pairs: list[tuple[int, int]], rows: list[Row], sources: list[Source]
    ) -> None:
        """Write the shares of the pairs (number of the row, number of the source) into the rows `here` of `out`."""
        if self._rows is None or self._rows[0] != rows:
            self._rows = None  # before the next are computed
            self._rows = rows, self._gathered(rows, self._rows_of, self._found.rows, self._found.heads)
        by_head = self._gathered(sources, _layer_of_source, self._live_sources, self._onward)
        i, j = torch.tensor(pairs).unbind(1)
        for layer, (up, down) in enumerate(zip(self._rows[1], by_head, strict=True)):
            table = torch.einsum("tphd,sphd->tsh", self._heads(up), self._heads(down))
            out[here, layer] = table[i, j].float().cpu()

    def _heads(self, x: Tensor) -> Float[Tensor, "end pos head width"]:
        return x.view(len(x), self._found.n_pos, self.n_heads, -1)

    def _rows_of(self, row: Row) -> int:
        return self._found.n_layers if row is None else row.layer

    def _live_sources(self, sources: Sequence[Source]) -> Float[Tensor, " source"]:
        """The change of each source times its gradient, as a function of the gradients by the heads."""
        live = []
        for s in sources:
            if isinstance(s, EmbeddingAt):
                live.append(self._by_source[0][s.pos])
            else:
                by_output = self._by_source[1 + s.layer].view(self._found.n_pos, -1)[s.pos]
                live.append((by_output @ self._weights[s.layer][s.neuron].to(by_output)) * self._change[s])
        return torch.stack(live)

    def _gathered(
        self,
        ends: Sequence[End],
        layer_of: Callable[[End], int],
        live_of: Callable[[Sequence[End]], Tensor],
        by: Sequence[Tensor],
    ) -> list[Float[Tensor, "end pos attention"]]:
        """Per layer, the derivatives of all `ends`, batched by the layer of the ends."""
        grouped: dict[int, list[int]] = defaultdict(list)
        for i, end in enumerate(ends):
            grouped[layer_of(end)].append(i)
        out = [torch.zeros(len(ends), *z.shape[-2:], dtype=z.dtype, device=z.device) for z in by]
        size = rows_at_once(self._found, self._memory)
        for numbers in grouped.values():
            live = live_of([ends[i] for i in numbers])
            for some in torch.arange(len(numbers)).split(size):
                for into, grad in zip(out, pull(live, by, some.tolist()), strict=True):
                    into[[numbers[i] for i in some.tolist()]] = grad.view(len(some), *into.shape[1:])
        return out


def _layer_of_source(source: Source) -> int:
    return -1 if isinstance(source, EmbeddingAt) else source.layer
