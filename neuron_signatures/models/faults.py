"""What the model libraries raise and print while they load: one line with the next step, and no notices."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import transformers
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from safetensors import SafetensorError
from tqdm import tqdm

from neuron_signatures.models.batching import Work, is_out_of_memory, too_little_memory
from neuron_signatures.models.catalog import SUCCESSORS
from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, ModelSpec, path_of
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError
from neuron_signatures.runs.files import DISK_FULL

# What transformers, huggingface_hub and safetensors raise for a file they cannot get or read.
_LIBRARY_FAULTS = (
    OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError, HTTPError, StrictDataclassError,
    struct.error,
)  # fmt: skip

_NO_HUB = (
    "Set HF_TOKEN for gated or private models; with HF_HUB_OFFLINE=1 only downloaded models are used; "
    "--model_name demo needs no download, smollm2 a package"
)


@contextlib.contextmanager
def library_faults(spec: ModelSpec) -> Iterator[None]:
    """Turn what the libraries raise while they load `spec` into the project's one-line errors."""
    try:
        yield
    except ProjectError:
        raise
    except Exception as e:
        # tokenizers 0.23 raises the bare class for a damaged tokenizer.json
        if isinstance(e, _LIBRARY_FAULTS) or type(e) is Exception or is_out_of_memory(e):
            raise _explain(spec, e) from e
        raise


@contextlib.contextmanager
def quiet_libraries(*, downloads: bool = False) -> Iterator[None]:
    """Keep stderr for the stage: no bars (but of downloads, if asked), no notices from the libraries.

    Also keeps transformers from asking the Hub to convert a pickled checkpoint, a request in the user's
    name that opens a pull request on the model's repository.
    """
    bars, hub_bars_off = transformers.logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    verbosity = transformers.logging.get_verbosity()
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    if not downloads and not hub_bars_off:
        disable_progress_bars()
    try:
        with quiet_http():
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
        if not downloads and not hub_bars_off:
            enable_progress_bars()


@contextlib.contextmanager
def weights_bar(*, show: bool) -> Iterator[None]:
    """Show transformers' bar of the loaded weights on stderr, though the libraries are quiet (transformers 5.23)."""
    if not show:
        yield
        return

    def bar(_: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return tqdm(*args, **{**options, "file": sys.stderr, "leave": False})

    before = transformers.logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers.logging.set_tqdm_hook(before)


@contextlib.contextmanager
def quiet_http() -> Iterator[None]:
    """Keep the HTTP libraries' request lines and retry notices out of the log."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "httpx2", "httpcore2", "filelock")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _explain(spec: ModelSpec, error: BaseException) -> ProjectError:
    causes = list(_chain(error))
    text = " ".join(str(e) for e in causes)
    where = f"model {spec.name}"
    if (too_little := next((e for e in causes if is_out_of_memory(e)), None)) is not None:
        dtype = "--model_dtype bf16, " if spec.dtype == "fp32" else ""
        smaller = f"{dtype}--device_map auto, another --device or, for a dump, --quantization 4bit"
        return too_little_memory(Work("loading", where, smaller), too_little)
    full = next((e for e in causes if isinstance(e, OSError) and e.errno in DISK_FULL), None)
    if full is not None:
        place = str(full.filename or constants.HF_HUB_CACHE)
        return EnvironmentProblem(f"{where}: {full.strerror}", where=place, next_step="Free some space, or set HF_HOME")
    if "trust_remote_code" in text:
        step = "Read that code, then add --trust_remote_code"
        if (successor := SUCCESSORS.get(spec.name)) is not None:
            step = f"Use {successor.model_name}: {successor.reason}"
        return UsageError("it runs code from its repository", where=where, next_step=step)
    if "does not recognize this architecture" in text or "Unrecognized" in text:
        return UsageError(f"not a causal language model known to transformers: {condense(error)}", where=where)
    if (refusal := _explain_refusal(spec, causes)) is not None:
        return refusal
    return EnvironmentProblem(f"cannot be loaded: {condense(error)}", where=where, next_step=_complete_or_hub(spec))


def _complete_or_hub(spec: ModelSpec) -> str:
    path = path_of(spec.name)
    if path.is_file() or spec.name == SMOLLM2_MODEL:
        return "Check that the file is complete"
    return "Check that the folder is complete" if path.is_dir() or spec.name == DEMO_MODEL else _NO_HUB


def _explain_refusal(spec: ModelSpec, causes: list[BaseException]) -> ProjectError | None:
    """What the Hub's refusal or silence means; None when the Hub is not the cause."""
    where, hub = f"model {spec.name}", constants.ENDPOINT
    status = next((e.response.status_code for e in causes if isinstance(e, HfHubHTTPError)), None)

    def caused_by(kind: type[BaseException]) -> bool:
        return any(isinstance(e, kind) for e in causes)

    if caused_by(GatedRepoError):
        step = f"Accept its licence on {hub}/{spec.name}. {_NO_HUB}"
        return EnvironmentProblem(f"access is gated and {_token_state()}", where=where, next_step=step)
    if caused_by(RevisionNotFoundError):
        return UsageError(f"--model_revision {spec.revision!r} does not exist", where=where)
    if caused_by(RepositoryNotFoundError) or status in (401, 403):
        what = f"not found on {hub}, or private, and {_token_state()}"
        return EnvironmentProblem(what, where=where, next_step=f"Check the name. {_NO_HUB}")
    if caused_by(LocalEntryNotFoundError):
        what = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else f"{hub} does not answer"
        return EnvironmentProblem(f"not in the local cache, and {what}", where=where, next_step=_NO_HUB)
    if caused_by(EntryNotFoundError):
        return UsageError("its repository has no config.json, so it is not a transformers model", where=where)
    return None


def condense(error: BaseException) -> str:
    """The first sentence of a library's message, without a token, at most 240 characters."""
    text = f"{error}" or type(error).__name__
    for secret in {os.environ.get("HF_TOKEN", ""), get_token() or ""} - {""}:
        text = text.replace(secret, "***")
    text = re.sub(r"hf_[A-Za-z0-9]{8,}", "***", " ".join(text.split()))
    first = re.split(r"(?<=[.!?]) (?=[A-Z])", text)[0].rstrip(".")
    return first if len(first) <= 240 else first[:237] + "..."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _token_state() -> str:
    return "HF_TOKEN has no access" if get_token() else "HF_TOKEN is not set"
