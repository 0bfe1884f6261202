"""From a model and a corpus to a directions file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from neuron_signatures.models.identity import model_identity
from neuron_signatures.models.load import LoadedModel, load_config, load_model, load_tokenizer
from neuron_signatures.models.sites import Place, site_width
from neuron_signatures.models.spec import BosRequest, ModelSpec
from neuron_signatures.models.tokens import wants_bos
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.records.directions.fit import FitKind, fit
from neuron_signatures.records.directions.sample import sampled_windows, site_values
from neuron_signatures.runs.errors import UsageError, escape_controls
from neuron_signatures.runs.skills.banks import Site
from neuron_signatures.runs.skills.directions import Made, write_directions

log = logging.getLogger(__name__)
_BYTES: Final = 1 << 30
"""Most bytes of sampled values in memory; with more, the model runs over the sample several times."""


@dataclass(frozen=True)
class FitRequest:
    """Directions to be fitted. `sites` and `layers` are crossed; `layers` None means all."""

    model: ModelSpec
    kind: FitKind
    sites: tuple[Site, ...]
    layers: tuple[int, ...] | None
    n: int
    source: Source
    settings: CorpusSettings
    n_tokens: int
    seed: int
    bos: BosRequest | None = None
    name: str | None = None
    """The source in the names of the tensors; None for the kind."""


@dataclass(frozen=True)
class MadeFile:
    """What was written. `notes` are for the user."""

    path: Path
    sha256: str
    keys: tuple[str, ...]
    n: int
    n_tokens: int
    notes: tuple[str, ...] = ()


def make_fitted(request: FitRequest, out: Path) -> MadeFile:
    """Fit directions on a sample of the corpus and write them. Raises `UsageError` for layers that do not exist."""
    model = load_model(request.model)
    layers = _layers(model, request.layers)
    wants = wants_bos(model.tokenizer, request.bos or "tokenizer") and model.tokenizer.bos_token_id is not None
    settings = replace(request.settings, bos_token_id=model.tokenizer.bos_token_id if wants else None)
    windows = sampled_windows(request.source, settings, model.tokenizer, n_tokens=request.n_tokens, seed=request.seed)
    arrays: dict[str, np.ndarray] = {}
    notes = []
    for places in _groups(model, request.sites, layers, request.n_tokens):
        for place, values in site_values(model, windows, places, settings).items():
            key = f"{request.name or request.kind}.{place.site}.{place.layer}"
            log.info("%s", key)
            found = fit(request.kind, values, request.n, seed=_seed(request.seed, place))
            arrays |= {key: found.rows, f"{key}.bias": found.bias}
            notes += [f"{key}: {found.note}"] if found.note else []
    digest = write_directions(out, arrays, made_of(request.model, request.kind, request.seed, request.n_tokens))
    keys = tuple(key for key in arrays if not key.endswith(".bias"))
    return MadeFile(out, digest, keys, request.n, request.n_tokens, tuple(notes))


def made_of(spec: ModelSpec, made_by: FitKind, seed: int | None, n_tokens: int | None) -> Made:
    """The metadata of a file for this model."""
    identity = model_identity(spec, load_config(spec), load_tokenizer(spec))
    name = escape_controls(spec.name)
    return Made(made_by, name, identity.revision, identity.weights_fingerprint, seed, n_tokens)


def _layers(model: LoadedModel, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    n = int(model.config.get_text_config().num_hidden_layers)
    layers = tuple(range(n)) if wanted is None else tuple(sorted(set(wanted)))
    if layers and layers[-1] >= n:
        raise UsageError(f"there is no layer {layers[-1]}: the model has 0..{n - 1}", where="--layers")
    return layers


def _groups(model: LoadedModel, sites: Sequence[Site], layers: Sequence[int], n_tokens: int) -> Iterator[list[Place]]:
    """Places whose values fit into memory together."""
    group: list[Place] = []
    size = 0
    for site in sites:
        width = site_width(model.hf, site)
        for layer in layers:
            own = 4 * n_tokens * width
            if group and size + own > _BYTES:
                yield group
                group, size = [], 0
            group.append(Place(site, layer))
            size += own
    yield group


def _seed(seed: int, place: Place) -> int:
    """Another seed for every place, so that random directions of two layers differ."""
    return int(np.random.SeedSequence([seed, *place.site.encode(), place.layer]).generate_state(1)[0])
