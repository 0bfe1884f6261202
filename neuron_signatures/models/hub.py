"""Where a model's files are: a folder, a GGUF file, an installed package or the Hub.

huggingface_hub 2.4 retries a file that is not in the cache for 23 s when the network is down, and
transformers asks for a dozen files. So one request without retries decides first: if the Hub does not
answer, every later step reads the local cache only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from neuron_signatures.models.faults import library_faults, quiet_http
from neuron_signatures.models.gguf.convert import ConvertedGguf, convert_gguf
from neuron_signatures.models.packaged import SMOLLM2, find_packaged
from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, ModelSpec, path_of
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError


@dataclass(frozen=True)
class Source:
    """Where to load from: `path` is a folder when `is_local`, else a Hugging Face id.

    `local_files_only` says that the Hub is not asked: a folder, offline mode, or (`unreachable`) no answer.
    `gguf` says from which GGUF file the folder was converted, None for any other folder.
    """

    path: str
    is_local: bool
    local_files_only: bool
    unreachable: bool = False
    gguf: ConvertedGguf | None = None


def find_source(spec: ModelSpec) -> Source:
    """The folder or repository that `spec.name` means; a folder goes before an id of the same name.

    A GGUF file (also that of `smollm2`) is converted on first use. Raises `UsageError` for a path that is not a
    model, `EnvironmentProblem` when the Hub refuses, a package is missing or a GGUF file cannot be converted.
    """
    gguf = find_packaged(SMOLLM2) if spec.name == SMOLLM2_MODEL else _gguf_file(spec.name)
    if gguf is not None:
        converted = convert_gguf(spec, gguf)
        return Source(str(converted.folder), is_local=True, local_files_only=True, gguf=converted)
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


def weights_in_cache(name: str) -> bool:
    """Whether weights of the Hub model `name` are in the local cache: one file, or the index of several. Asks no
    network; False for what is no id."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    files = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _gguf_file(name: str) -> Path | None:
    path = path_of(name)
    if not name.lower().endswith(".gguf") or path.is_dir():
        return None
    if not path.is_file():
        what = "not a regular file" if path.exists() else "there is no such GGUF file"
        raise UsageError(what, where=f"--model_name {name!r}")
    return path


def _local_folder(name: str) -> Path | None:
    if name == DEMO_MODEL:
        from neuron_signatures.demo import model_dir

        folder = Path(model_dir())
        if not (folder / "config.json").is_file():
            raise EnvironmentProblem("the demo model's files are missing from this installation", where=str(folder))
        return folder
    path = path_of(name)
    where = f"--model_name {name!r}"
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError("this folder has no config.json, so it is not a model folder", where=where)
        return path
    if path.is_file():
        raise UsageError("this is a file; give the folder that holds config.json, or a .gguf file", where=where)
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
