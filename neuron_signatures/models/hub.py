"""Where a model's files are, and what a failure to get them means: one line with the next step.

huggingface_hub 2.4 retries a file that is not in the cache for 23 s when the network is down, and
transformers asks for a dozen files. So one request without retries decides first: if the Hub does not
answer, every later step reads the local cache only.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError

from neuron_signatures.models.spec import DEMO_MODEL, ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError

# What transformers, huggingface_hub and safetensors raise for a file they cannot get or read.
LIBRARY_FAULTS = (
    OSError,
    ValueError,
    RuntimeError,
    ImportError,
    KeyError,
    SafetensorError,
    HTTPError,
    StrictDataclassError,
)

_NO_HUB = (
    "Set HF_TOKEN for gated or private models; with HF_HUB_OFFLINE=1 only downloaded models are used; "
    "--model_name demo needs no download"
)


@dataclass(frozen=True)
class Source:
    """Where to load from: `path` is a folder when `is_local`, else a Hugging Face id.

    `local_files_only` says that the Hub is not asked: a folder, offline mode, or (`unreachable`) no answer.
    """

    path: str
    is_local: bool
    local_files_only: bool
    unreachable: bool = False


def find_source(spec: ModelSpec) -> Source:
    """The folder or repository that `spec.name` means; a folder goes before an id of the same name.

    Raises `UsageError` for a path that is not a model folder and `EnvironmentProblem` when the Hub refuses.
    """
    folder = _local_folder(spec.name)
    if folder is not None:
        return Source(str(folder), is_local=True, local_files_only=True)
    try:
        validate_repo_id(spec.name)
    except HFValidationError as e:
        raise UsageError("neither a folder nor a Hugging Face id", where=f"--model_name {spec.name!r}") from e
    with library_faults(spec), quiet_http():
        offline = constants.is_offline_mode()
        answers = not offline and _hub_answers(spec.name, spec.revision)
    return Source(spec.name, is_local=False, local_files_only=not answers, unreachable=not (answers or offline))


def resolved_commit(spec: ModelSpec) -> str | None:
    """The commit of the Hub model that is in the cache for `spec`, once its config was loaded; None for a folder.

    transformers 5.23 no longer keeps it in the config; the cache has one folder per commit.
    """
    if find_source(spec).is_local:
        return None
    file = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
    return Path(file).parent.name if isinstance(file, str) else None


@contextlib.contextmanager
def library_faults(spec: ModelSpec) -> Iterator[None]:
    """Turn what the libraries raise while they load `spec` into the project's one-line errors."""
    try:
        yield
    except ProjectError:
        raise
    except LIBRARY_FAULTS as e:
        raise _explain(spec, e) from e
    except Exception as e:
        if type(e) is not Exception:
            raise
        raise _explain(spec, e) from e  # tokenizers 0.23 raises the bare class for a damaged tokenizer.json


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


def _local_folder(name: str) -> Path | None:
    if name == DEMO_MODEL:
        from neuron_signatures.demo import model_dir

        folder = Path(model_dir())
        if not (folder / "config.json").is_file():
            raise EnvironmentProblem("the demo model's files are missing from this installation", where=str(folder))
        return folder
    path = Path(name).expanduser()
    where = f"--model_name {name!r}"
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError("this folder has no config.json, so it is not a model folder", where=where)
        return path
    if path.is_file():
        raise UsageError("this is a file; give the folder that holds config.json", where=where)
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_like_path:
        raise UsageError("this folder does not exist", where=where)
    return None


@functools.lru_cache(maxsize=16)
def _hub_answers(repo: str, revision: str | None) -> bool:
    """One HEAD for config.json, with HF_TOKEN if set. A refusal is raised; silence and server errors are False."""
    url = hf_hub_url(repo, "config.json", revision=revision)
    try:
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (HfHubHTTPError, HTTPError, OSError) as e:
        if isinstance(e, HfHubHTTPError) and e.response.status_code in (401, 403):
            raise
        return False
    return True


def _explain(spec: ModelSpec, error: BaseException) -> ProjectError:
    causes = list(_chain(error))
    text = " ".join(str(e) for e in causes)
    where = f"model {spec.name}"
    if any(type(e).__name__ == "OutOfMemoryError" for e in causes):
        return EnvironmentProblem(
            "the weights do not fit into the device's memory",
            where=where,
            next_step="Use --quantization 4bit, --device_map auto or --device cpu",
        )
    if "trust_remote_code" in text:
        return UsageError(
            "it runs code from its repository", where=where, next_step="Read that code, then add --trust_remote_code"
        )
    if "does not recognize this architecture" in text or "Unrecognized" in text:
        return UsageError(f"not a causal language model known to transformers: {condense(error)}", where=where)
    if (refusal := _explain_refusal(spec, causes)) is not None:
        return refusal
    local = spec.name == DEMO_MODEL or Path(spec.name).expanduser().is_dir()
    step = "Check that the folder is complete" if local else _NO_HUB
    return EnvironmentProblem(f"cannot be loaded: {condense(error)}", where=where, next_step=step)


def _explain_refusal(spec: ModelSpec, causes: list[BaseException]) -> ProjectError | None:
    """What the Hub's refusal or silence means; None when the Hub is not the cause."""
    where, hub = f"model {spec.name}", constants.ENDPOINT

    def caused_by(kind: type[BaseException]) -> bool:
        return any(isinstance(e, kind) for e in causes)

    if caused_by(GatedRepoError):
        step = f"Accept its licence on {hub}/{spec.name}. {_NO_HUB}"
        return EnvironmentProblem(f"access is gated and {_token_state()}", where=where, next_step=step)
    if caused_by(RevisionNotFoundError):
        return UsageError(f"--model_revision {spec.revision!r} does not exist", where=where)
    if caused_by(RepositoryNotFoundError) or _status(causes) in (401, 403):
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


def _status(causes: list[BaseException]) -> int | None:
    return next((e.response.status_code for e in causes if isinstance(e, HfHubHTTPError)), None)


def _token_state() -> str:
    return "HF_TOKEN has no access" if get_token() else "HF_TOKEN is not set"
