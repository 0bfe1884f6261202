"""From what a flag says to SAEs: of the demo model, of a folder, of Gemma Scope or of another release."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from neuron_signatures.demo import saes_dir
from neuron_signatures.models.saes.fit import SaeModel, check_fit
from neuron_signatures.models.saes.folders import saes_in
from neuron_signatures.models.saes.releases import saes_of_release
from neuron_signatures.models.saes.source import SaeSource
from neuron_signatures.models.spec import path_of
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.skills.banks import SAE_SITES, Site

DEMO: Final = "demo"
PATTERN_MARK: Final = "::"


def saes_of(
    spec: str,
    *,
    model: SaeModel,
    sites: Sequence[Site] | None = None,
    layers: Sequence[int] | None = None,
    force: bool = False,
) -> list[SaeSource]:
    """The SAEs that `spec` names, at most one per site and layer, by site (res, att, mlp) and layer.

    `spec` is `demo`, a folder, `gemma-scope` or a release of sae-lens; `::PATTERN` after it selects names, such as
    `gemma-scope-2b-pt-res::layer_*/width_16k/average_l0_7?`. A folder goes before a release of the same name.
    With `sites` or `layers` None, all that there are. `force` lifts the check of the model's name.

    Raises `UsageError` if nothing is found, a site or layer asked for is missing, two SAEs are of the same site and
    layer, or one does not fit the model; `EnvironmentProblem` if sae-lens is missing.
    """
    name, _, pattern = spec.partition(PATTERN_MARK)
    found = list(_selected(_named(name, pattern or "*"), sites, layers))
    if not found:
        what = f"has no SAE{_asked(sites, layers)}{f' whose name matches {pattern!r}' if pattern else ''}"
        raise UsageError(what, where=_where(spec), next_step="Give other sites, layers or SAEs")
    _refuse_twins(found, spec)
    for source in found:
        check_fit(
            model,
            source.site,
            source.layer,
            d_in=source.d_in,
            model_name=source.config.model_name,
            where=f"SAE {source.origin}",
            force=force,
        )
    _refuse_gaps(found, sites, layers, spec)
    return sorted(found, key=lambda s: (SAE_SITES.index(s.site), s.layer))


def _named(name: str, pattern: str) -> Iterable[SaeSource]:
    if name == DEMO:
        # the names of files are those of the package, wherever it is installed
        return (replace(s, origin=f"{DEMO}/{s.name}") for s in _matching(saes_in(saes_dir()), pattern))
    folder = path_of(name)
    if name and folder.is_dir():
        return _matching(saes_in(folder), pattern)
    if not name or folder.exists() or name.startswith((".", "/", "~")) or "\\" in name:
        what = "this is a file, not a folder" if name and folder.exists() else "this folder does not exist"
        step = "Give demo, gemma-scope, a folder of SAEs or a release of sae-lens"
        raise UsageError(what, where=_where(name), next_step=step)
    return saes_of_release(name, pattern)


def _matching(sources: Iterable[SaeSource], pattern: str) -> Iterable[SaeSource]:
    return (source for source in sources if fnmatch.fnmatchcase(source.name, pattern))


def _selected(
    sources: Iterable[SaeSource], sites: Sequence[Site] | None, layers: Sequence[int] | None
) -> Iterable[SaeSource]:
    for source in sources:
        if (sites is None or source.site in sites) and (layers is None or source.layer in layers):
            yield source


def _refuse_twins(found: Sequence[SaeSource], spec: str) -> None:
    first: dict[tuple[Site, int], SaeSource] = {}
    for source in found:
        twin = first.setdefault((source.site, source.layer), source)
        if twin is not source:
            what = f"two SAEs of {source.site} in layer {source.layer}: {twin.name} and {source.name}"
            step = f"Select one per site and layer: {spec.partition(PATTERN_MARK)[0]}{PATTERN_MARK}PATTERN"
            raise UsageError(what, where=_where(spec), next_step=step)


def _refuse_gaps(
    found: Sequence[SaeSource], sites: Sequence[Site] | None, layers: Sequence[int] | None, spec: str
) -> None:
    """Sites and layers that were asked for must be there; what was not asked for may be missing."""
    there = {(source.site, source.layer) for source in found}
    for site in sites if sites is not None else dict.fromkeys(source.site for source in found):
        have = sorted(layer for s, layer in there if s == site)
        missing = sorted(set(layers or ()) - set(have))
        if missing or not have:
            what = f"has no SAE of {site}" + (f" in layers {spans(missing)}" if missing else "")
            raise UsageError(what, where=_where(spec), next_step="Leave them out of the sites or layers")


def _asked(sites: Sequence[Site] | None, layers: Sequence[int] | None) -> str:
    of = f" of {', '.join(sites)}" if sites is not None else ""
    return of + (f" in layers {spans(sorted(set(layers)))}" if layers is not None else "")


def _where(spec: str) -> str:
    return f"SAEs {spec!r}"
