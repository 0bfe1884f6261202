"""What the cfg.json of an SAE says, in the format of sae-lens 6 and in the flat one of versions before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_signatures.models.saes.sae import ARCHITECTURES, Architecture
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Site

_HOOKS: Final[tuple[tuple[str, Site], ...]] = (
    (r"blocks\.(\d{1,4})\.hook_resid_post", "res"),
    (r"blocks\.(\d{1,4})\.attn\.hook_z", "att"),
    (r"blocks\.(\d{1,4})\.hook_mlp_out", "mlp"),
)
MAX_WIDTH: Final = 1 << 22
"""The most inputs or features of an SAE: four times the features of the widest of Gemma Scope."""


@dataclass(frozen=True)
class SaeConfig:
    """What must be known to use the weights. `k` is None unless `topk`.

    With `scaled_by_decoder` (sae-lens' `rescale_acts_by_decoder_norm`), the pre-activations are multiplied by the norms
    of the decoder's rows, and the features divided by them in the reconstruction.
    """

    architecture: Architecture
    d_in: int
    d_sae: int
    site: Site
    layer: int
    k: int | None
    apply_b_dec_to_input: bool
    scaled_by_decoder: bool
    model_name: str | None


def parse_config(raw: object, *, where: str) -> SaeConfig:
    """The settings in the value of a cfg.json. Raises `UsageError` for what is missing, wrong or not supported."""
    if not isinstance(raw, dict):
        raise UsageError("not a JSON object", where=where)
    nested = raw.get("metadata")
    cfg: dict[str, Any] = {**raw, **(nested if isinstance(nested, dict) else {})}
    site, layer = site_of_hook(_first(cfg, "hook_name", "hook_point"), where=where)
    architecture, k = _architecture(cfg, where=where)
    _refuse_unsupported(cfg, where=where)
    d_in, d_sae = (_number(cfg, key, MAX_WIDTH, where=where) for key in ("d_in", "d_sae"))
    if k is not None and k > d_sae:
        raise UsageError(f"k {k} is larger than d_sae {d_sae}", where=where)
    model_name = cfg.get("model_name")
    return SaeConfig(
        architecture,
        d_in,
        d_sae,
        site,
        layer,
        k,
        _flag(cfg, "apply_b_dec_to_input", default=True, where=where),
        _flag(cfg, "rescale_acts_by_decoder_norm", default=False, where=where),
        model_name if isinstance(model_name, str) and model_name else None,
    )


def site_of_hook(hook: object, *, where: str) -> tuple[Site, int]:
    """Site and layer of a hook's name, such as `blocks.3.hook_resid_post`. Raises `UsageError` for other hooks."""
    for pattern, site in _HOOKS:
        if isinstance(hook, str) and (match := re.fullmatch(pattern, hook, re.ASCII)):
            return site, int(match[1])
    found = "names no hook" if hook is None else f"the SAE reads hook {str(hook)[:80]!r}"
    known = "blocks.L.hook_resid_post, blocks.L.attn.hook_z and blocks.L.hook_mlp_out"
    raise UsageError(f"{found}; supported are {known}", where=where, next_step="Select others with ::PATTERN")


def _architecture(cfg: Mapping[str, Any], *, where: str) -> tuple[Architecture, int | None]:
    """Architecture and k. Before sae-lens 6, top-k was an activation function of the standard architecture."""
    name, activation = cfg.get("architecture", "standard"), _first(cfg, "activation_fn", "activation_fn_str")
    if name == "standard" and activation == "topk":
        options = cfg.get("activation_fn_kwargs")
        cfg, name = {**cfg, **(options if isinstance(options, dict) else {})}, "topk"
    elif activation not in (None, "relu") and not (name == "topk" and activation == "topk"):
        raise UsageError(
            f"activation function {str(activation)[:40]!r} is not supported, only relu and topk", where=where
        )
    for known in ARCHITECTURES:
        if name == known:
            return known, _number(cfg, "k", MAX_WIDTH, where=where) if known == "topk" else None
    supported = ", ".join(ARCHITECTURES)
    raise UsageError(f"architecture {str(name)[:40]!r} is not supported, only {supported}", where=where)


def _refuse_unsupported(cfg: Mapping[str, Any], *, where: str) -> None:
    normalised = cfg.get("normalize_activations")
    if normalised not in (None, False, "none"):
        what = f"normalize_activations {str(normalised)[:40]!r} is not supported, only none"
        raise UsageError(what, where=where, next_step="Fold the normalisation into the weights first")
    for key in ("hook_head_index", "seqpos_slice", "hook_name_out"):
        # sae-lens writes [null] and [null, null] for all positions
        if (value := cfg.get(key)) is not None and not (isinstance(value, list) and set(map(str, value)) <= {"None"}):
            raise UsageError(f"{key} {str(value)[:40]!r} is not supported", where=where)


def _number(cfg: Mapping[str, Any], key: str, most: int, *, where: str) -> int:
    value = cfg.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most:
        return value
    raise UsageError(f"{key} should be a number from 1 to {most}, and is {str(value)[:40]}", where=where)


def _flag(cfg: Mapping[str, Any], key: str, *, default: bool, where: str) -> bool:
    value = cfg.get(key, default)
    if isinstance(value, bool):
        return value
    raise UsageError(f"{key} should be true or false, and is {str(value)[:40]!r}", where=where)


def _first(cfg: Mapping[str, Any], *keys: str) -> Any:
    return next((cfg[key] for key in keys if cfg.get(key) is not None), None)
