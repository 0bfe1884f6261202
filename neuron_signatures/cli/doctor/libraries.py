"""Versions of Python and of the libraries, against what this installation asks for."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final, NamedTuple

from neuron_signatures.cli.doctor.finding import Finding
from neuron_signatures.models.packaged import INSTALL as INSTALL_PACKAGED
from neuron_signatures.models.packaged import MINILM, SMOLLM2

SECTION: Final = "versions"
_PACKAGE: Final = "neuron-signatures"
_INSTALL: Final = {
    "": "pip install -r requirements-viewers.txt",
    "models": "pip install -r requirements.txt",
    "sae": "pip install -r requirements.txt -r requirements-sae.txt",
    "ray": "pip install -r requirements.txt -r requirements-ray.txt",
}
"""How the libraries of an extra are installed. The empty one is the base install."""
_WHAT: Final = {
    "": "the viewers", "models": "models", "sae": "releases of sparse autoencoders", "ray": "--engine ray",
}  # fmt: skip
_FOR_TESTS: Final = {"chromium": "make test-browser", "tmux": "make test-cluster", "slurmctld": "make test-cluster"}


class Library(NamedTuple):
    """`extra` is empty for the base install. `installed` is None if the library is missing."""

    name: str
    extra: str
    asked: str
    installed: str | None
    fits: bool


def library_findings() -> list[Finding]:
    """Python, the libraries of each extra, and the packages that no extra has."""
    try:
        asked_python = metadata.metadata(_PACKAGE)["Requires-Python"]
        libraries = list(_libraries())
    except metadata.PackageNotFoundError:
        what = "this package is not installed, so the versions of its libraries are not checked"
        return [Finding(SECTION, "note", what, "pip install --no-deps -e .")]
    found = [_python(asked_python)]
    for extra in dict.fromkeys(library.extra for library in libraries):
        found += _of_extra(extra, [library for library in libraries if library.extra == extra])
    return [*found, _bitsandbytes(), *_packaged(), *_programs()]


def has_torch() -> bool:
    """Whether torch is installed, working or not."""
    return _version("torch") is not None


def _libraries() -> Iterator[Library]:
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion

    for text in metadata.requires(_PACKAGE) or ():
        asked = Requirement(text)
        extra = next((e for e in _INSTALL if e and asked.marker and asked.marker.evaluate({"extra": e})), "")
        if asked.marker is not None and not extra and not asked.marker.evaluate({"extra": ""}):
            continue  # for another system, or an extra of a later version
        installed = _version(asked.name)
        try:
            fits = installed is not None and asked.specifier.contains(installed, prereleases=True)
        except InvalidVersion:
            fits = False
        yield Library(asked.name, extra, str(asked.specifier), installed, fits)


def _version(name: str) -> str | None:
    """None for a library that is missing, or whose folder lacks its description."""
    try:
        found: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    return found


def _python(asked: str | None) -> Finding:
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    text = f"Python {version} at {sys.executable}"
    if asked is not None and not SpecifierSet(asked).contains(version, prereleases=True):
        step = "make PYTHON=/path/to/python3.11 demo, after removing .venv"
        return Finding(SECTION, "problem", f"{text}; Python {asked} is supported", step)
    return Finding(SECTION, "ok", text)


def _of_extra(extra: str, libraries: list[Library]) -> list[Finding]:
    """One line if all is well or nothing is installed, else a line for each library that is not."""
    step, what = _INSTALL[extra], _WHAT[extra]
    present = [library for library in libraries if library.installed is not None]
    own = [library for library in present if library.name == libraries[0].name]
    if extra and not own:
        return [Finding(SECTION, "note", f"{what}: not installed ({libraries[0].name} is missing)", step)]
    found = []
    for library in libraries:
        if library.installed is None:
            found.append(Finding(SECTION, "problem", f"{library.name} is missing, which {what} need", step))
        elif not library.fits:
            text = f"{library.name} {library.installed} is installed, {library.asked} is supported"
            found.append(Finding(SECTION, "problem", text, step))
    named = f"{libraries[0].name} {libraries[0].installed}{', ...' if len(libraries) > 1 else ''}"
    text = f"{what}: {len(libraries)} {'library' if len(libraries) == 1 else 'libraries'} as asked for ({named})"
    return found or [Finding(SECTION, "ok", text)]


def _bitsandbytes() -> Finding:
    installed = _version("bitsandbytes")
    if installed is None:
        what = "bitsandbytes is not installed: no --quantization, and no model that fits only quantised"
        return Finding(SECTION, "note", what, "pip install bitsandbytes")
    return Finding(SECTION, "ok", f"bitsandbytes {installed}, for --quantization")


def _packaged() -> list[Finding]:
    """The real models that come as packages."""
    found = []
    for model in (SMOLLM2, MINILM):
        version = _version(model.distribution)
        if version is None:
            what = f"the model {model.name} is not installed ({model.distribution})"
            found.append(Finding(SECTION, "note", what, INSTALL_PACKAGED))
        else:
            found.append(Finding(SECTION, "ok", f"the model {model.name} ({model.distribution} {version})"))
    return found


def _programs() -> list[Finding]:
    missing = [f"{name} ({use})" for name, use in _FOR_TESTS.items() if shutil.which(name) is None]
    if not missing:
        return [Finding(SECTION, "ok", "the programs of all tests")]
    return [Finding(SECTION, "ok", f"programs that only some tests need are missing: {', '.join(missing)}")]
