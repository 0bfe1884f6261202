"""SAEs of sae-lens' releases, downloaded from the Hugging Face Hub; the only importer of sae_lens.

sae-lens knows hundreds of releases by name; those of Gemma Scope need no request until an SAE is loaded.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch

from neuron_signatures.models.faults import condense, quiet_http
from neuron_signatures.models.saes.config import parse_config
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.models.saes.weights import Stored, check_shapes, make_sae, wanted
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError

GEMMA_SCOPE: Final = "gemma-scope"
GEMMA_SCOPE_RELEASES: Final = tuple(f"gemma-scope-2b-pt-{site}-canonical" for site in ("res", "att", "mlp"))
_GEMMA_SCOPE_IDS: Final = "layer_*/width_16k/canonical"
_NO_HUB: Final = "Check the network, HF_TOKEN and HF_HUB_OFFLINE, or give a folder of downloaded SAEs"


def saes_of_release(release: str, pattern: str) -> Iterator[SaeSource]:
    """The SAEs of a release whose ids match a pattern (`*` for all); `gemma-scope` is three releases at width 16k.

    Raises `EnvironmentProblem` if sae-lens is not installed or a config cannot be downloaded, and `UsageError` for an
    unknown release and for SAEs that are not supported.
    """
    _require_sae_lens(release)
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory()
    is_default = release == GEMMA_SCOPE and pattern == "*"
    for name in GEMMA_SCOPE_RELEASES if release == GEMMA_SCOPE else (release,):
        if name not in known:
            what = "neither a folder nor a release of sae-lens"
            raise UsageError(what, where=f"SAEs {release!r}", next_step=_similar(release, sorted(known)))
        for sae_id in fnmatch.filter(known[name].saes_map, _GEMMA_SCOPE_IDS if is_default else pattern):
            yield _source(name, sae_id)


def _source(release: str, sae_id: str) -> SaeSource:
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    origin = f"{release}/{sae_id}"
    with _faults(origin):
        raw = load_sae_config_from_huggingface(release, sae_id)
    config = parse_config(_as_loaded(raw), where=origin)
    return SaeSource(origin, config, origin, functools.partial(_load, release, sae_id, origin))


def _load(release: str, sae_id: str, origin: str, device: torch.device) -> Sae:
    from sae_lens import SAE

    with _faults(origin), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Any = SAE.from_pretrained(release, sae_id, device=str(device))
    return sae_from_lens(loaded, name=origin, source=origin)


def sae_from_lens(loaded: Any, *, name: str, source: str) -> Sae:
    """An SAE that sae-lens has loaded. Raises `UsageError` if it is not supported."""
    config = parse_config(loaded.cfg.to_dict(), where=source)
    found = {key: tensor.detach().float() for key, tensor in loaded.state_dict().items()}
    check_shapes({key: Stored(tuple(t.shape), "fp32") for key, t in found.items()}, config, where=source)
    tensors = {key: found[key] for key in wanted(config)}
    return make_sae(tensors, config, name=name, source=source, sha256=None)


def _as_loaded(raw: dict[str, Any]) -> dict[str, Any]:
    """sae-lens folds this normalisation into the weights when it loads a release; `sae_from_lens` checks that."""
    folded = raw.get("normalize_activations") == "expected_average_only_in"
    return {**raw, "normalize_activations": "none"} if folded else raw


def _require_sae_lens(release: str) -> None:
    if importlib.util.find_spec("sae_lens") is None:
        what = "not a folder, and sae-lens, which knows releases, is not installed"
        step = "Run: pip install -r requirements-sae.txt"
        raise EnvironmentProblem(what, where=f"SAEs {release!r}", next_step=step)


@contextlib.contextmanager
def _faults(origin: str) -> Iterator[None]:
    """Turn what sae-lens and the Hub raise into one line."""
    try:
        with quiet_http():
            yield
    except ProjectError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as e:
        raise EnvironmentProblem(
            f"sae-lens cannot load it: {condense(e)}", where=f"SAE {origin}", next_step=_NO_HUB
        ) from e


def _similar(release: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(release, known, n=3, cutoff=0.5)
    return f"Did you mean {', '.join(close)}?" if close else "Check the name, or give a folder"
