"""Conversions of GGUF files in child processes (`forked`), killed or limited at a chosen point."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from forked import Child

from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import setup_logging


def start_conversion(file: Path, fault: Callable[[], None] | None = None) -> Child:
    """Load the tokenizer of a GGUF file in a child process, after `fault` has prepared that process."""
    return Child(_convert, file, fault)


def _convert(file: Path, fault: Callable[[], None] | None) -> int:
    from neuron_signatures.models.load import ModelSpec, load_tokenizer

    def main(argv: object = None) -> int:
        load_tokenizer(ModelSpec(str(file), device="cpu"))
        return 0

    setup_logging(quiet=False)
    if fault is not None:
        fault()
    return command(main)()


def kill_while_saving() -> None:
    from transformers import PreTrainedTokenizerBase

    PreTrainedTokenizerBase.save_pretrained = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)


def limit_file_size(most: int) -> Callable[[], None]:
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
