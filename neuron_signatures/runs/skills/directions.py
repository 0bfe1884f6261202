"""The directions file: vectors whose projections are units, such as principal components or the rows of an autoencoder.

A safetensors file with a tensor `<source>.<site>.<layer>` of shape [n_directions, width of the site] for every bank, in
float32 or float16. A unit's activation is x · d, plus `<key>.bias` [n_directions] if there is one. With
`<key>.threshold` [n_directions] it is that sum where the sum is above the threshold and 0 elsewhere, as in the encoder
of an autoencoder. The metadata are texts: `format_version`, `made_by`, and where known `model_name`, `model_revision`,
`weights_fingerprint`, `seed`, `n_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32

from neuron_signatures.runs.arrays import ArrayFile, LaterArray, write_arrays
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.manifest import MAX_LAYERS
from neuron_signatures.runs.skills.banks import NEURONS, SAE, SITES, Bank, Site

DIRECTIONS_VERSION: Final = 1
MadeBy = Literal["random", "pca", "ica", "sae", "other"]
_MAX_UNITS: Final = 1 << 22
_MAX_WIDTH: Final = 1 << 20
_KEY: Final = re.compile(r"([a-z][a-z0-9_]{0,31})\.([a-z]{1,16})\.(0|[1-9]\d{0,5})(\.bias|\.threshold)?", re.ASCII)
_BYTES_AT_ONCE: Final = 1 << 26
_TEXT: Final = 1000
"""Longest text of the metadata."""


@dataclass(frozen=True)
class Made:
    """How a directions file was made. None where it is unknown."""

    made_by: MadeBy
    model_name: str | None = None
    model_revision: str | None = None
    weights_fingerprint: str | None = None
    seed: int | None = None
    n_tokens: int | None = None

    def metadata(self) -> dict[str, str]:
        known = {key: str(value) for key, value in self.__dict__.items() if value is not None}
        return {"format_version": str(DIRECTIONS_VERSION), **known}


class DirectionArrays(NamedTuple):
    """The directions of one bank. `bias` and `threshold` are None if the file has none."""

    rows: Float32[np.ndarray, "unit width"]
    bias: Float32[np.ndarray, " unit"] | None
    threshold: Float32[np.ndarray, " unit"] | None


class DirectionsFile:
    """An open directions file; `banks` are its banks in the order of source, site and layer, and `made` says how.

    Opening reads the header only. Raises `UsageError` with the file and the tensor if the file is not a directions
    file; `arrays` raises it for values that are not finite and for a direction of zeros.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = ArrayFile(path)
        except BadRunError as e:
            next_step = "scripts/make_directions.py makes a directions file"
            raise UsageError(e.what, where=str(path), next_step=next_step) from e
        try:
            self.made = _made(self._file.metadata, path)
            self.banks = self._read_banks()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> DirectionsFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def width(self, bank: Bank) -> int:
        """Width of the site, by the bank's tensor."""
        return self._file.shape(bank.key)[1]

    def arrays(self, bank: Bank) -> DirectionArrays:
        """The bank's directions, which must be finite and not zero."""
        n, width = self._file.shape(bank.key)
        rows = np.empty((n, width), np.float32)
        step = max(1, _BYTES_AT_ONCE // (4 * width))
        for start in range(0, n, step):
            part = self._file.rows(bank.key, start, min(start + step, n)).astype(np.float32)
            self._refuse_bad_rows(bank, part, start)
            rows[start : start + len(part)] = part
        return DirectionArrays(rows, self._vector(bank, "bias"), self._vector(bank, "threshold"))

    def check(self, widths: Mapping[Site, int], n_layers: int) -> None:
        """Raise `UsageError` unless every bank is of a layer of the model and as wide as its site there."""
        for bank in self.banks:
            if bank.layer >= n_layers:
                raise self._fault(bank.key, f"there is no layer {bank.layer}: the model has 0..{n_layers - 1}")
            if self.width(bank) != widths[bank.site]:
                what = f"has width {self.width(bank)}, but {bank.site} of the model has {widths[bank.site]}"
                raise self._fault(bank.key, what)

    def _vector(self, bank: Bank, name: str) -> Float32[np.ndarray, " unit"] | None:
        key = f"{bank.key}.{name}"
        if key not in self._file.keys():  # noqa: SIM118  # not a mapping
            return None
        values = np.asarray(self._file.read(key), np.float32)
        if not np.isfinite(values).all():
            raise self._fault(key, "has values that are not finite")
        return values

    def _refuse_bad_rows(self, bank: Bank, rows: np.ndarray, first: int) -> None:
        for bad, what in ((~np.isfinite(rows).all(1), "is not finite"), (~rows.any(1), "is zero")):
            if bad.any():
                raise self._fault(bank.key, f"direction {first + int(bad.argmax())} {what}")

    def _read_banks(self) -> list[Bank]:
        found: list[Bank] = []
        vectors: list[tuple[str, str]] = []
        for key in self._file.keys():  # noqa: SIM118  # not a mapping
            match = _KEY.fullmatch(key)
            if match is None:
                raise self._fault(key[:80], "is not named <source>.<site>.<layer>, such as pca.res.3")
            source, site, layer, vector = match.groups()
            if vector is not None:
                vectors.append((key, key.removesuffix(vector)))
            else:
                found.append(self._bank(key, source, site, int(layer)))
        self._refuse_stray(vectors, {bank.key for bank in found})
        if not found:
            raise UsageError("holds no directions", where=str(self.path))
        found.sort()
        self._refuse_unequal(found)
        return found

    def _bank(self, key: str, source: str, site: str, layer: int) -> Bank:
        if site not in SITES:
            raise self._fault(key, f"{site!r} is not a site: {', '.join(SITES)} are")
        if source in (SAE, NEURONS):
            raise self._fault(key, f"the name {source} is that of other units", "Use another, such as sae_dec")
        shape = self._file.shape(key)
        if len(shape) != 2 or not (0 < shape[0] <= _MAX_UNITS and 0 < shape[1] <= _MAX_WIDTH) or layer >= MAX_LAYERS:
            what = f"has shape {list(shape)}, not [n_directions, width] (at most {_MAX_UNITS:,} and {_MAX_WIDTH:,})"
            raise self._fault(key, what)
        self._refuse_dtype(key)
        return Bank(source, site, layer, shape[0])

    def _refuse_stray(self, vectors: list[tuple[str, str]], keys: set[str]) -> None:
        """Raise `UsageError` for a bias or threshold that fits no bank."""
        for key, of in vectors:
            if of not in keys:
                raise self._fault(key, f"there is no {of}")
            self._refuse_dtype(key)
            shape, n = self._file.shape(key), self._file.shape(of)[0]
            if shape != (n,):
                raise self._fault(key, f"has shape {list(shape)}, but {of} has {n} directions")

    def _refuse_unequal(self, banks: list[Bank]) -> None:
        """Layers of one source and site must have equally many directions, and a site one width."""
        first: dict[tuple[str, str], Bank] = {}
        widths: dict[str, Bank] = {}
        for bank in banks:
            other = first.setdefault((bank.source, bank.site), bank)
            if bank.n_units != other.n_units:
                what = (
                    f"has {bank.n_units} directions, but {other.key} has {other.n_units}; all layers need equally many"
                )
                raise self._fault(bank.key, what)
            same = widths.setdefault(bank.site, bank)
            if self.width(bank) != self.width(same):
                what = f"has width {self.width(bank)}, but {same.key} has {self.width(same)}"
                raise self._fault(bank.key, what)

    def _refuse_dtype(self, key: str) -> None:
        if self._file.dtype(key) not in (np.dtype("<f4"), np.dtype("<f2")):
            raise self._fault(key, f"has dtype {self._file.dtype(key)}, not float32 or float16")

    def _fault(self, key: str, what: str, next_step: str = "") -> UsageError:
        return UsageError(what, where=f"{self.path}, {key}", next_step=next_step)


@dataclass(frozen=True)
class SiteDirections:
    """The directions of one source at one site: the units of a run. `layers` are ascending."""

    source: str
    site: Site
    layers: tuple[int, ...]
    n_units: int
    width: int


def choose_site(file: DirectionsFile, site: Site | None, source: str | None) -> SiteDirections:
    """The one set of directions that `site` and `source` leave. Raises `UsageError` if none or several are left."""
    groups = sorted({(bank.source, bank.site) for bank in file.banks})
    fits = [g for g in groups if site in (None, g[1]) and source in (None, g[0])]
    have = ", ".join(f"{of} at {at}" for of, at in groups)
    if len(fits) != 1:
        what = f"holds {have}: none is the one asked for" if not fits else f"holds several sets of directions: {have}"
        raise UsageError(what, where=str(file.path), next_step="Choose one with --site and --source")
    banks = [bank for bank in file.banks if (bank.source, bank.site) == fits[0]]
    layers = tuple(bank.layer for bank in banks)
    return SiteDirections(banks[0].source, banks[0].site, layers, banks[0].n_units, file.width(banks[0]))


def write_directions(path: Path, arrays: Mapping[str, np.ndarray | LaterArray], made: Made) -> str:
    """Write a directions file whole or not at all; returns its sha256. Keys and shapes are as in the module's text."""
    with whole_file(path.parent, path.name, needed=sum(a.nbytes for a in arrays.values())) as out:
        return write_arrays(out, arrays, made.metadata())


def copy_directions(source: Path, out: BinaryIO, chosen: SiteDirections) -> tuple[str, int]:
    """Write the chosen directions of a file, with its metadata; returns sha256 and bytes. Raises as `DirectionsFile`.

    Every value is checked. One layer is in memory at a time.
    """
    with DirectionsFile(source) as file:
        arrays: dict[str, np.ndarray | LaterArray] = {}
        for bank in file.banks:
            if (bank.source, bank.site) != (chosen.source, chosen.site):
                continue
            _, bias, threshold = file.arrays(bank)
            shape, make = (bank.n_units, chosen.width), partial(_rows, file, bank)
            arrays[bank.key] = LaterArray(np.dtype("<f4"), shape, make)
            for name, values in (("bias", bias), ("threshold", threshold)):
                if values is not None:
                    arrays[f"{bank.key}.{name}"] = values
        digest = write_arrays(out, arrays, file.made.metadata())
    return digest, out.tell()


def _rows(file: DirectionsFile, bank: Bank) -> np.ndarray:
    return file.arrays(bank).rows


def _made(metadata: Mapping[str, str], path: Path) -> Made:
    version = metadata.get("format_version")
    if version != str(DIRECTIONS_VERSION):
        found = "its metadata have no format_version" if version is None else f"format_version is {version[:40]!r}"
        what = f"{found}, this reader knows {DIRECTIONS_VERSION}"
        raise UsageError(what, where=str(path), next_step="scripts/make_directions.py makes a directions file")
    fields: dict[str, Any] = {"made_by": metadata.get("made_by", "")}
    if fields["made_by"] not in get_args(MadeBy):
        what = f"made_by is {fields['made_by'][:40]!r}, not one of {', '.join(get_args(MadeBy))}"
        raise UsageError(what, where=str(path))
    for key in ("model_name", "model_revision", "weights_fingerprint"):
        fields[key] = metadata[key][:_TEXT] if key in metadata else None
    for key in ("seed", "n_tokens"):
        text = metadata.get(key)
        if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) is None:
            raise UsageError(f"{key} is {text[:40]!r}, not a number", where=str(path))
        fields[key] = None if text is None else int(text)
    return Made(**fields)
