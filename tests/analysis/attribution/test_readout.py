"""The unembedding is read in parts: same values, same gradients, no copy of the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attribution_cases import loaded, token_ids
from tiny_models import D_MODEL, VOCAB
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neuron_signatures.analysis.attribution import readout
from neuron_signatures.analysis.attribution.readout import function_value
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.targets import next_token_logits
from neuron_signatures.models.weights import Unembedding, unembedding

ROWS = 100


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts of the tiny vocabulary, the last one smaller."""
    monkeypatch.setattr(readout, "_ROWS_AT_ONCE", ROWS)


def head_and_hidden() -> tuple[Unembedding, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, D_MODEL, generator=generator).bfloat16()
    return Unembedding(weight, None, 30.0), torch.randn(3, D_MODEL, generator=generator)


@pytest.mark.parametrize("cap", [30.0, None])
def test_values_and_gradients_are_those_of_one_product(cap: float | None) -> None:
    head, hidden = head_and_hidden()
    head = head._replace(soft_cap=cap)
    target = Target(8, 5, None, "logprob", "next_token")
    ours, plain = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    value = function_value(head, ours, target)
    logits = plain @ head.weight.float().T
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    want = logits.log_softmax(-1)[:, 5]
    torch.testing.assert_close(value, want)
    weights = torch.tensor([1.0, -2.0, 3.0])
    (got,), (expected,) = (torch.autograd.grad(f @ weights, x) for f, x in ((value, ours), (want, plain)))
    torch.testing.assert_close(got, expected)


def test_the_graph_of_logprob_keeps_no_copy_of_the_unembedding() -> None:
    head, hidden = head_and_hidden()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function_value(head, hidden.requires_grad_(), Target(8, 5, None, "logprob", "next_token"))
    kept.pop(head.weight.untyped_storage().data_ptr())
    assert sum(kept.values()) < head.weight.nbytes


class _Products(TorchDispatchMode):
    """Records the sizes of the matrices in matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            self.sizes |= {n for x in args if isinstance(x, Tensor) for n in x.shape}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gemma2", "phi"])  # phi has a bias
def test_the_logits_of_the_target_are_computed_in_parts(name: str) -> None:
    model = loaded(name)
    with torch.no_grad():
        want = model.hf(input_ids=torch.tensor([token_ids()])).logits[0, -1]
    with _Products() as products:
        logits = next_token_logits(model, token_ids(), len(token_ids()) - 1)
    assert ROWS in products.sizes and VOCAB not in products.sizes
    torch.testing.assert_close(readout.capped(unembedding(model.hf), logits), want, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the module is as it was
        assert torch.equal(model.hf(input_ids=torch.tensor([token_ids()])).logits[0, -1], want)
    assert "forward" not in vars(model.hf.get_output_embeddings())
