"""The tensors of several sites and layers (residual stream, attention, MLP, neurons) from one plain forward pass.

The values equal those of transformer-lens' `TransformerBridge` at the hook points that `Site` names. `mlp` is what the
MLP adds to the residual stream: on models with a norm after the MLP (Gemma-2, Gemma-3), the output of that norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import backbone, decoder_layers, linear_features, output_projections
from neuron_signatures.models.norms import is_norm
from neuron_signatures.models.residual import attention
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import SITES, Site

# Attribute names of the linear map from the heads to the residual stream.
_ATTENTION_OUT: Final = ("o_proj", "c_proj", "out_proj", "dense", "wo")


class Place(NamedTuple):
    """A site of a layer."""

    site: Site
    layer: int


SiteSink = Callable[[Site, int, Tensor], None]
"""Called with (site, layer, values [batch pos width]) as soon as the tensor exists."""


class SiteCapture:
    """Captures the tensors of the given places.

        with SiteCapture(hf, [Place("res", 3), Place("neuron", 3)]) as capture:
            capture.run(input_ids, attention_mask, sink=take)

    Hooks are registered on entry and removed on exit, also after an error. `widths` holds the width of each place.
    Raises `UsageError` for unknown places and models: `mlp` and `neuron` need a dense MLP with one output projection.
    """

    def __init__(self, hf: PreTrainedModel, places: Sequence[Place]) -> None:
        self._body = backbone(hf)
        self._name = type(self._body).__name__
        self._parts = _Parts(hf)
        self.places = tuple(Place(*place) for place in places)
        self._refuse_unknown()
        self.widths = {place: self._parts.width(place) for place in self.places}
        self._hooks: ExitStack | None = None
        self._take: Callable[[Place, Tensor], None] | None = None

    def __enter__(self) -> SiteCapture:
        with ExitStack() as stack:
            for place in self.places:
                self._register(place, stack)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._hooks is not None
        self._hooks.close()
        self._hooks = None

    def run(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        sink: SiteSink | None = None,
    ) -> dict[Place, Float[Tensor, "batch pos _"]]:
        """The tensor of each place, in the model's dtype and on that layer's device, not copied.

        With a `sink` each tensor is passed on as soon as it exists, in the order of the forward pass; nothing is
        stored and the result is empty. `attention_mask` is 1 on tokens and 0 on padding, which must be on the right:
        values at padded positions are meaningless. Raises `UsageError` if a place gives no tensor or one of another
        shape.
        """
        assert self._hooks is not None, "SiteCapture.run needs `with SiteCapture(...) as capture:`"
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None
        kept: dict[Place, Tensor] = {}
        missing = set(self.places)

        def take(place: Place, values: Tensor) -> None:
            missing.discard(place)
            checked = self._checked(place, values, input_ids.shape)
            if sink is None:
                kept[place] = checked
            else:
                sink(place.site, place.layer, checked)

        self._take = take
        try:
            with torch.inference_mode():
                self._body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        finally:
            self._take = None
        for place in sorted(missing):
            self._checked(place, None, input_ids.shape)
        return {place: kept[place] for place in self.places if place in kept}

    def _refuse_unknown(self) -> None:
        n_layers = len(self._parts.layers)
        for place in self.places:
            if place.site not in SITES or not 0 <= place.layer < n_layers:
                what = f"a place is one of {', '.join(SITES)} and a layer in 0..{n_layers - 1}"
                raise UsageError(what, where=f"{place.site} of layer {place.layer} of {self._name}")
        if len(set(self.places)) != len(self.places):
            raise UsageError("a place is asked for twice", where=self._name)

    def _register(self, place: Place, stack: ExitStack) -> None:
        def give(values: Tensor) -> None:  # knows its place: the names of hooks cannot be trusted
            if self._take is not None:
                self._take(place, values)

        layer = self._parts.layers[place.layer]
        if place.site == "res":
            stack.enter_context(layer.register_forward_hook(lambda _, args, out: give(_first(out))))
        elif place.site == "mlp":
            _MlpOutput(self._parts.projections()[place.layer], give).watch(layer, stack)
        else:
            source = self._parts.attention_out if place.site == "att" else self._parts.mlp_out
            module = source(place.layer)
            stack.enter_context(module.register_forward_pre_hook(lambda _, args: give(args[0])))

    def _checked(self, place: Place, values: Tensor | None, batch_shape: torch.Size) -> Tensor:
        want = (*batch_shape, self.widths[place])
        if values is not None and values.ndim == 2 and values.shape[0] == batch_shape.numel():
            values = values.unflatten(0, batch_shape)  # OPT (transformers 5.23) flattens batch and positions
        if values is None or values.shape != want:
            found = "nothing" if values is None else f"shape {tuple(values.shape)}"
            raise UsageError(
                f"{place.site} should have shape {want}, found {found}",
                where=f"layer {place.layer} of {self._name}",
                next_step="This architecture is not supported",
            )
        return values


def site_width(hf: PreTrainedModel, site: Site) -> int:
    """Width of a site, from the weights; raises `UsageError` if layers differ."""
    parts = _Parts(hf)
    widths = [parts.width(Place(site, layer)) for layer in range(len(parts.layers))]
    for layer, width in enumerate(widths):
        if width != widths[0]:
            what = f"{site} has width {widths[0]} in layer 0 and {width} in layer {layer}; all must be equal"
            raise UsageError(what, where=type(backbone(hf)).__name__)
    return widths[0]


def attention_out(hf: PreTrainedModel, layer: int) -> nn.Module:
    """The linear map from the heads to the residual stream; its input is `hook_z` with its heads flattened."""
    return _Parts(hf).attention_out(layer)


class _Parts:
    """Modules of a model's layers, found when they are asked for: a mixture of experts has no single projection."""

    def __init__(self, hf: PreTrainedModel) -> None:
        self._hf = hf
        self.layers = decoder_layers(hf)
        self.d_model: int = backbone(hf).config.get_text_config().hidden_size
        self._projections: list[nn.Module] | None = None

    def projections(self) -> list[nn.Module]:
        if self._projections is None:
            self._projections = output_projections(self._hf)
        return self._projections

    def mlp_out(self, layer: int) -> nn.Module:
        return self.projections()[layer]

    def attention_out(self, layer: int) -> nn.Module:
        """The linear map from the heads to the residual stream; its input is `hook_z` with its heads flattened."""
        holder = attention(self.layers[layer])
        named: list[tuple[str, nn.Module]] = [(name.rsplit(".", 1)[-1], m) for name, m in holder.named_modules()]
        shaped = [(name, m) for name, m in named if (shape := linear_features(m)) and shape[1] == self.d_model]
        found = [module for name, module in shaped if name in _ATTENTION_OUT]
        if len(found) != 1:
            raise UsageError(
                f"expected one output projection of the attention into d_model {self.d_model}, found {len(found)}",
                where=f"layer {layer} ({type(holder).__name__})",
                next_step="This architecture is not supported",
            )
        return found[0]

    def width(self, place: Place) -> int:
        if place.site in ("res", "mlp"):
            if place.site == "mlp":
                self.projections()
            return self.d_model
        features = linear_features((self.attention_out if place.site == "att" else self.mlp_out)(place.layer))
        assert features is not None
        return features[0]


class _MlpOutput:
    """Gives what the MLP of a layer adds to the residual stream: after the norm on it, if there is one.

    That norm is recognised by its input, which is the projection's output: names differ between models. The tensor is
    held until the layer is done, so that its storage is not reused and equal addresses mean the same tensor.
    """

    def __init__(self, projection: nn.Module, give: Callable[[Tensor], None]) -> None:
        self._projection, self._give = projection, give
        self._out: Tensor | None = None
        self._normed: Tensor | None = None

    def watch(self, layer: nn.Module, stack: ExitStack) -> None:
        """Register the hooks, until `stack` is closed."""
        stack.enter_context(layer.register_forward_pre_hook(self._enter))
        stack.enter_context(self._projection.register_forward_hook(self._keep))
        for norm in filter(is_norm, layer.children()):
            stack.enter_context(norm.register_forward_hook(self._keep_normed))
        stack.enter_context(layer.register_forward_hook(self._leave))

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._out = self._normed = None  # of a pass that failed within the layer

    def _keep(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self._out = out

    def _keep_normed(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        source = self._out
        if source is not None and args[0].data_ptr() == source.data_ptr() and args[0].shape == source.shape:
            self._normed = out

    def _leave(self, module: nn.Module, args: Any, out: Any) -> None:
        found = self._out if self._normed is None else self._normed
        self._out = self._normed = None
        if found is not None:
            self._give(found)


def _first(out: Any) -> Tensor:
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found
