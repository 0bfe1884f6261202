"""Conversion of a GGUF file into a model folder that loads like any other.

transformers 5.23 reads a GGUF file by dequantising it at every load, and `save_pretrained` refuses the result. So
the float32 weights are copied into a plain model of the same config and saved in the user's cache, with the
tokenizer. The folder is named by the file's checksum, appears whole or not at all, and is made by one process at
a time.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from neuron_signatures.models.faults import condense, library_faults, quiet_libraries
from neuron_signatures.models.fingerprint import FULL_HASH_BYTES, files_fingerprint, sampled_sha256
from neuron_signatures.models.gguf.header import BAD_VALUES, Header, checked_config, read_header
from neuron_signatures.models.gguf.place import CACHE_VARIABLE, cache_folder
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.files import explain_os_errors, free_bytes, human_bytes, json_text, sha256_file, write_text
from neuron_signatures.runs.names import TMP_PREFIX

log = logging.getLogger(__name__)

RECORD: Final = "conversion.json"
_NEXT_STEP: Final = f"Make room, fix the permissions, or set {CACHE_VARIABLE} to another folder"
# Changes when a conversion would give another folder than before.
_VERSION: Final = 1
# How byte-level tokenizers (`tokenizer.ggml.pre`) split text before merging. transformers 5.23 knows some, and
# splits all others as GPT-2 does. These split as GPT-2, but every digit alone first:
_DIGITS_ALONE: Final = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_AS_GPT2: Final = ("gpt-2", "phi-2", "olmo", "mpt", "roberta-bpe")


@dataclass(frozen=True)
class ConvertedGguf:
    """A model folder made from a GGUF file.

    `fingerprint` is `gguf:<sha256>` of the GGUF file (`gguf-sampled:<sha256>` above 1 GB, see `sampled_sha256`),
    `quantization` how its tensors are stored, such as `Q4_1`.
    """

    folder: Path
    fingerprint: str
    quantization: str


def convert_gguf(spec: ModelSpec, file: Path) -> ConvertedGguf:
    """The model folder for a GGUF file, converted unless the cache holds it, intact.

    Raises `UsageError` for a file that is no GGUF file or whose architecture is not a dense decoder that transformers
    reads (naming the architecture), `EnvironmentProblem` when the file is damaged or the cache cannot be written.
    """
    stat = file.stat()
    return _convert(spec, file.resolve(), stat.st_size, stat.st_mtime_ns, cache_folder())


@functools.lru_cache(maxsize=16)
def _convert(spec: ModelSpec, file: Path, size: int, mtime_ns: int, cache: Path) -> ConvertedGguf:
    """Cached by size and time of change, so that a process hashes the file and the folder once."""
    header = read_header(spec, file)
    fingerprint = _fingerprint(file)
    key = f"{fingerprint.rpartition(':')[2]}-v{_VERSION}-{transformers.__version__}"
    converted = ConvertedGguf(cache / key, fingerprint, header.quantization)
    if _is_intact(converted):
        return converted
    with explain_os_errors(cache, next_step=_NEXT_STEP):
        cache.mkdir(parents=True, exist_ok=True)
        with _one_process(cache / f"{key}.lock", file):
            if not _is_intact(converted):  # another process may have made it meanwhile
                _make(spec, file, header, converted)
    return converted


def _fingerprint(file: Path) -> str:
    if file.stat().st_size <= FULL_HASH_BYTES:
        return f"gguf:{sha256_file(file)}"
    return f"gguf-sampled:{sampled_sha256(file)}"


def _is_intact(converted: ConvertedGguf) -> bool:
    """Whether the folder is there with the bytes that were written, by its record."""
    try:
        record = json.loads((converted.folder / RECORD).read_text(encoding="utf-8"))
        return bool(record["files_fingerprint"] == _folder_fingerprint(converted.folder))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _folder_fingerprint(folder: Path) -> str:
    return files_fingerprint(sorted(file for file in folder.iterdir() if file.name != RECORD))


@contextlib.contextmanager
def _one_process(lock: Path, file: Path) -> Iterator[None]:
    """Hold the lock file; the OS releases it when the process ends, however it ends."""
    held = FileLock(lock, fallback_to_soft=False)
    try:
        held.acquire(timeout=0)
    except Timeout:
        log.info("another process is converting %s; waiting for it", file.name)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _make(spec: ModelSpec, file: Path, header: Header, converted: ConvertedGguf) -> None:
    """Convert into a temporary folder beside the final one, and rename it. The lock is held."""
    final = converted.folder
    if final.exists():
        log.warning("%s is damaged; converting again", final)
    for leftover in final.parent.glob(f"{TMP_PREFIX}-{final.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = final.with_name(f"{TMP_PREFIX}-{final.name}-{secrets.token_hex(3)}")
    try:
        with _quiet(spec):
            config = checked_config(spec, file, header)
        needed = 4 * header.n_values
        if (free := free_bytes(final.parent)) < needed:
            raise EnvironmentProblem(
                f"no room to convert {file.name}: {human_bytes(needed)} needed, {human_bytes(free)} free",
                where=str(final.parent), next_step=_NEXT_STEP,
            )  # fmt: skip
        log.info("converting %s once (%s, fp32) into %s", file.name, human_bytes(needed), final)
        with _quiet(spec):
            try:
                model, tokenizer = _load_weights(spec, file, config), _load_tokenizer(spec, file, header)
            except BAD_VALUES as e:
                raise UsageError(f"cannot be converted: {condense(e)}", where=f"model {spec.name}") from e
        _check_window(spec, model, header)
        if _fingerprint(file) != converted.fingerprint:
            raise EnvironmentProblem("the file changed while it was converted", where=str(file))
        temporary.mkdir()
        _save(model, tokenizer, temporary)
        _finish(temporary, final, _record(file, header, converted, temporary))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _quiet(spec: ModelSpec) -> Iterator[None]:
    """Library errors as one line, and none of their output: no switch turns off the bar of transformers 5.23 here."""
    with library_faults(spec), quiet_libraries(), contextlib.redirect_stderr(io.StringIO()):
        yield


def _check_window(spec: ModelSpec, model: PreTrainedModel, header: Header) -> None:
    """Warn where transformers does not read the width of sliding attention: it does for some architectures only."""
    window = getattr(model.config, "sliding_window", None)
    if header.sliding_window is None or window == header.sliding_window:
        return
    log.warning(
        "model %s: attention reaches %d tokens back by the GGUF file, %s by its config here; longer prompts differ",
        spec.name, header.sliding_window, window or "all",
    )  # fmt: skip


def _save(model: PreTrainedModel, tokenizer: TokenizerBase, folder: Path) -> None:
    try:
        with quiet_libraries():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except SafetensorError as e:  # hides the number of the system's error
        raise EnvironmentProblem(f"cannot write ({condense(e)})", where=str(folder.parent), next_step=_NEXT_STEP) from e


def _load_weights(spec: ModelSpec, file: Path, config: PretrainedConfig) -> PreTrainedModel:
    """The dequantised weights in a model that knows nothing of GGUF."""
    dequantised, report = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, with their shapes
    )
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, expected = mismatched[0]
        what = f"{name} has shape {tuple(found)} in the GGUF file, its metadata say {tuple(expected)}"
        raise UsageError(what, where=f"model {spec.name}")
    if missing := sorted(report["missing_keys"]):
        what = f"the GGUF file lacks {len(missing)} weights of its architecture, such as {missing[0]}"
        raise UsageError(what, where=f"model {spec.name}")
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(dequantised.state_dict(), assign=True)
    plain.tie_weights()
    return plain


def _load_tokenizer(spec: ModelSpec, file: Path, header: Header) -> TokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    pre = header.pre_tokenizer
    if pre in _DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif pre is not None and pre not in (*GGUF_PRE_TOKENIZER_SPLITS, *_AS_GPT2):
        log.warning(
            "model %s: the rule by which its tokenizer splits text (%s) is not known to transformers; GPT-2's is used, "
            "so some texts get other tokens than in training", spec.name, ascii(pre)[:40] if pre else "not named",
        )  # fmt: skip
    return tokenizer


def _record(file: Path, header: Header, converted: ConvertedGguf, folder: Path) -> dict[str, Any]:
    return {
        "source": file.name.encode("utf-8", "backslashreplace").decode("utf-8"),
        "source_bytes": file.stat().st_size,
        "source_fingerprint": converted.fingerprint,
        "architecture": header.architecture,
        "quantization": header.quantization,
        "pre_tokenizer": header.pre_tokenizer,
        "dtype": "fp32",
        "files_fingerprint": _folder_fingerprint(folder),
        "transformers": transformers.__version__,
    }


def _finish(temporary: Path, final: Path, record: dict[str, Any]) -> None:
    """Sync everything, write the record last, put the folder in its place."""
    for path in temporary.iterdir():
        with path.open("rb") as f:
            os.fsync(f.fileno())
    write_text(temporary, RECORD, json_text(record))
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
