"""Versions of Python and of the libraries that a result depends on, for manifests and stage records."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "neuron-signatures", "torch", "transformers", "transformer-lens", "tokenizers", "safetensors", "numpy", "pandas",
    "pyarrow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions by distribution name, without packages that are not installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now_utc() -> str:
    """The time for a record."""
    return datetime.now(UTC).isoformat(timespec="seconds")
