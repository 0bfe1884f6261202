"""Stores the progress of a long ablation, so that an interrupted one can resume."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.opening import open_regular
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.writer import refuse_differences

log = logging.getLogger(__name__)

_EVERY_SECONDS = 20.0
_SETTINGS_BYTES = 64 << 20


class Partial:
    """One unfinished result in one file of `analysis/`, with the settings that it was computed with."""

    def __init__(self, writer: ResultsWriter, name: str, settings: Mapping[str, Any]) -> None:
        self._writer, self._name = writer, name
        self._settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self._saved = time.monotonic()

    def load(self, effects: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Fill in the `effects` that an earlier process measured; returns which ones are done.

        Raises `UsageError` with the differences if the settings were others. A damaged file is ignored.
        """
        done = torch.zeros(len(effects), dtype=torch.bool)
        path = self._writer.folder / self._name
        try:
            with open_regular(path) as f:
                before, measured, ready = _read(f, len(effects))
        except FileNotFoundError:
            return done
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
            log.warning("%s is damaged; starting again", self._name)
            return done
        next_step = f"Give the same flags, or remove {self._name}"
        refuse_differences(before, self._settings, path, next_step=next_step)
        done = torch.from_numpy(ready)
        effects[done] = torch.from_numpy(measured)[done]
        log.info("resuming with %d of %d ablations done", int(done.sum()), len(done))
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
        with self._writer.file(self._name) as f:
            np.savez(f, settings=np.array(json.dumps(self._settings)), effects=effects.numpy(), done=done.numpy())
        self._saved = time.monotonic()

    def remove(self) -> None:
        self._writer.remove(self._name)


def _read(file: BinaryIO, n: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The settings, effects and flags of the `n` neurons. Raises `ValueError`, among others, for a damaged file."""
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > 16 * n + _SETTINGS_BYTES:
            raise ValueError("larger than its arrays")
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        settings, effects, done = parse_json(str(stored["settings"]).encode()), stored["effects"], stored["done"]
    if not isinstance(settings, dict) or effects.shape != (n,) or done.shape != (n,) or done.dtype != bool:
        raise ValueError("other arrays")
    return settings, effects, done
