"""Which SAEs fit a model: widths of its sites, number of layers, name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from neuron_signatures.models.capture import backbone, mlp_shape
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Site

FORCE_FLAG: Final = "--force_saes"
"""The flag that lifts the check of the model's name."""


@dataclass(frozen=True)
class SaeModel:
    """What an SAE has to fit. `d_z` is the width of the heads' outputs together: n_heads * head_dim."""

    name: str
    n_layers: int
    d_model: int
    d_z: int

    def width(self, site: Site) -> int:
        """Width of the activations that SAEs of a site read: `res`, `att` or `mlp`."""
        assert site != "neuron"
        return self.d_z if site == "att" else self.d_model


def sae_model_of(model: LoadedModel) -> SaeModel:
    """What SAEs have to fit, from the config and weights of a loaded model."""
    config = backbone(model.hf).config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    n_layers = mlp_shape(model.hf).n_layers
    return SaeModel(model.spec.name, n_layers, config.hidden_size, config.num_attention_heads * head)


def check_fit(
    model: SaeModel, site: Site, layer: int, *, d_in: int, model_name: str | None, where: str, force: bool = False
) -> None:
    """Raise `UsageError` if an SAE with inputs of `d_in` at a site of a layer does not belong to the model.

    With `force`, it may have been trained on a model of another name (a fine-tune, a checkpoint), but must have its
    width and one of its layers.
    """
    if not 0 <= layer < model.n_layers:
        what = f"the SAE is of layer {layer}, and the model has layers 0 to {model.n_layers - 1}"
        raise UsageError(what, where=where, next_step=f"Give SAEs of {model.name}")
    if d_in != model.width(site):
        what = f"the SAE reads {d_in} values, and {site} of model {model.name} has {model.width(site)}"
        raise UsageError(what, where=where, next_step=f"Give SAEs of {model.name}")
    if model_name is not None and not force and _short(model_name) != _short(model.name):
        what = f"the SAE was trained on model {model_name!r}, and this model is {model.name!r}"
        raise UsageError(what, where=where, next_step=f"Give the SAEs of this model, or add {FORCE_FLAG}")


def _short(name: str) -> str:
    """`google/gemma-2-2b` and a folder `models/gemma-2-2b/` are `gemma-2-2b`."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
