"""Where models that were converted from GGUF files are kept. Imports no model library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from neuron_signatures.models.spec import path_of

CACHE_VARIABLE: Final = "NEURON_SIGNATURES_CACHE"


def cache_folder() -> Path:
    """Where converted models are kept: `NEURON_SIGNATURES_CACHE`, or the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    return (path_of(given) if given else user_cache_path("neuron-signatures")) / "gguf"
