"""Stores the progress of a long ablation, so that an interrupted one can resume."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.writer import refuse_differences

log = logging.getLogger(__name__)

_EVERY_SECONDS = 20.0


class Partial:
    """One unfinished result in one file, with the settings that it was computed with."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self._saved = time.monotonic()

    def load(self, effects: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Fill in the `effects` that an earlier process measured; returns which ones are done.

        Raises `UsageError` with the differences if the settings were others. A damaged file is ignored.
        """
        done = torch.zeros(len(effects), dtype=torch.bool)
        if not self._path.is_file():
            return done
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                before, measured, ready = json.loads(str(stored["settings"])), stored["effects"], stored["done"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            log.warning("%s is damaged; starting again", self._path.name)
            return done
        next_step = f"Give the same flags, or remove {self._path.name}"
        refuse_differences(before, self._settings, self._path, next_step=next_step)
        done = torch.from_numpy(ready)
        effects[done] = torch.from_numpy(measured)[done]
        log.info("going on with %d of %d ablations done", int(done.sum()), len(done))
        return done

    def save(self, effects: Float[Tensor, " n"], done: Bool[Tensor, " n"]) -> None:
        """Write the state, at most every 20 seconds."""
        if time.monotonic() - self._saved >= _EVERY_SECONDS:
            self.save_now(effects, done)

    @contextlib.contextmanager
    def save_on_error(self, effects: Float[Tensor, " n"], done: Bool[Tensor, " n"]) -> Iterator[None]:
        """Write the state if an exception ends the block (a signal, out of memory)."""
        finished = False
        try:
            yield
            finished = True
        finally:
            if not finished and bool(done.any()):
                self.save_now(effects, done)

    def save_now(self, effects: Float[Tensor, " n"], done: Bool[Tensor, " n"]) -> None:
        with whole_file(self._path) as tmp, tmp.open("wb") as f:
            np.savez(f, settings=np.array(json.dumps(self._settings)), effects=effects.numpy(), done=done.numpy())
        self._saved = time.monotonic()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
