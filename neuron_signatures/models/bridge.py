"""Neuron activations captured through transformer-lens' `TransformerBridge`, for models that only it adapts.

`to_bridge` and `bridge_beside` in `load.py` make the bridge. Values equal those of `capture.MlpCapture` within
rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from neuron_signatures.models.capture import (
    Capture,
    MlpCapture,
    MlpShape,
    linear_features,
    refuse_experts,
    shape_of,
)
from neuron_signatures.models.load import LoadedModel, bridge_beside, to_bridge
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import HOOK_NAME, Backend

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Largest distance of the logits of the bridge from those of the model, relative to the norm. It was below 1e-6 for the
# verified architectures, and 0.24 to 0.6 for Cohere and Hunyuan, where transformer-lens 3.9 computes another attention.
_MAX_DISTANCE: Final = 0.05
_CHECKED_TOKENS: Final = 16
_INSTEAD: Final = "Use --backend transformers"


def open_capture(model: LoadedModel, layers: Sequence[int], backend: Backend, *, token_ids: Sequence[int]) -> Capture:
    """The capture of a backend. `transformer_lens` takes the model over (`to_bridge`), so call this once per model.

    There the logits of the first tokens in `token_ids` must be those of the model itself: raises `UsageError`
    otherwise, and if the backend cannot capture the model.
    """
    if backend == "transformers":
        return MlpCapture(model.hf, layers)
    model.hf.set_attn_implementation("eager")
    want = _first_logits(model.hf, model, token_ids)
    bridge = to_bridge(model)
    _refuse_difference(want, _first_logits(bridge, model, token_ids), model, _INSTEAD)
    return BridgeCapture(bridge, layers)


def checked_bridge(model: LoadedModel, token_ids: Sequence[int]) -> TransformerBridge:
    """A bridge beside `model`, which stays usable (`bridge_beside`).

    Raises `UsageError` if the logits of the first tokens in `token_ids` are not those of the model itself.
    """
    bridge = bridge_beside(model)
    want, found = (_first_logits(of, model, token_ids) for of in (model.hf, bridge))
    _refuse_difference(want, found, model, "Use another model")
    return bridge


@torch.inference_mode()
def _first_logits(of: Any, model: LoadedModel, token_ids: Sequence[int]) -> Tensor:
    """Logits of the model or of its bridge after the first tokens, float32."""
    ids = torch.tensor([list(token_ids[:_CHECKED_TOKENS])], device=model.device)
    out = of(ids, use_cache=False)
    logits: Tensor = out if isinstance(out, Tensor) else out.logits
    return logits.float()


def _refuse_difference(want: Tensor, found: Tensor, model: LoadedModel, next_step: str) -> None:
    distance = float((found - want).norm() / want.norm())
    if not distance <= _MAX_DISTANCE:
        raise UsageError(
            f"the logits of its TransformerBridge differ from those of the model itself (relative distance "
            f"{distance:.2g}), so its activations would too",
            where=f"model {model.spec.name}",
            next_step=next_step,
        )


def bridge_shape(bridge: TransformerBridge) -> MlpShape:
    """Number of layers and of neurons per layer, from the weights of `blocks.{layer}.mlp.out`.

    Raises `UsageError` for mixture-of-experts, for blocks without that map and for layers that differ in width.
    """
    return shape_of([_out(block, i) for i, block in enumerate(bridge.blocks)], where=_name(bridge))


class BridgeCapture(Capture):
    """Captures `blocks.{layer}.mlp.hook_post` of a `TransformerBridge`. See `Capture`.

    The bridge gets no attention mask: padding is on the right, and a causal model's positions do not depend on later
    ones. (transformer-lens 3.9 computes other activations with a mask on OpenAI GPT, even with a mask of ones.) Raises
    `UsageError` for models that are not causal.
    """

    def __init__(self, bridge: TransformerBridge, layers: Sequence[int] | None = None) -> None:
        if not bridge.adapter.supports_causal_loss:
            raise UsageError("not a causal language model", where=_name(bridge))
        super().__init__(bridge_shape(bridge), layers, _name(bridge))
        self._bridge = bridge
        parameters = inspect.signature(bridge.original_model.forward).parameters
        # logits of one position instead of all: the model cannot be run without its unembedding
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def _hooked(self) -> AbstractContextManager[object]:
        hooks = [(HOOK_NAME.format(layer=layer), self._hook(row)) for row, layer in enumerate(self.layers)]
        context: AbstractContextManager[object] = self._bridge.hooks(fwd_hooks=hooks)
        return context

    def _hook(self, row: int) -> Callable[..., None]:
        """A hook that knows its row: the name that the bridge gives to a hook may be another one."""

        def take(acts: Tensor, hook: Any) -> None:
            self._give(row, acts)

        return take

    def _forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        self._bridge(input_ids, return_type=None, use_cache=False, **self._options)


def _out(block: nn.Module, index: int) -> nn.Module:
    """The linear map from the neurons to the residual stream in a block; its input is `hook_post`."""
    where = f"block {index} ({type(block).__name__})"
    mlp = getattr(block, "mlp", None)
    refuse_experts(block, type(mlp).__name__, where=where)
    module = getattr(getattr(mlp, "out", None), "original_component", None)
    if not isinstance(module, nn.Module) or linear_features(module) is None:
        raise UsageError(
            f"its MLP ({type(mlp).__name__}) has no linear output projection `mlp.out`", where=where, next_step=_INSTEAD
        )
    return module


def _name(bridge: TransformerBridge) -> str:
    return type(bridge.original_model).__name__
