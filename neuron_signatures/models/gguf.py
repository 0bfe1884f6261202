"""GGUF files: checked, and converted once into a model folder that loads like any other.

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
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import PreTrainedConfig as PretrainedConfig
from transformers import PreTrainedTokenizerBase as TokenizerBase
from transformers.integrations.gguf import read_gguf_metadata
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.faults import condense, library_faults, quiet_libraries
from neuron_signatures.models.fingerprint import FULL_HASH_BYTES, files_fingerprint
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.files import explain_os_errors, free_bytes, human_bytes, sha256_file, write_json
from neuron_signatures.runs.names import TMP_PREFIX

log = logging.getLogger(__name__)

CACHE_VARIABLE: Final = "NEURON_SIGNATURES_CACHE"
RECORD: Final = "conversion.json"
_NEXT_STEP: Final = f"Make room, mend the permissions, or set {CACHE_VARIABLE} to another folder"
# Changes when a conversion would give another folder than before.
_VERSION: Final = 1
# `general.file_type`: what most of the tensors are stored in (ggml's numbers).
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
}  # fmt: skip
# What transformers' reader raises for bytes that are no GGUF file.
_DAMAGED: Final = (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, struct.error)
# How byte-level tokenizers (`tokenizer.ggml.pre`) split text before merging. transformers 5.23 knows some, and
# splits all others as GPT-2 does. These split as GPT-2, but every digit alone first:
_DIGITS_ALONE: Final = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_AS_GPT2: Final = ("gpt-2", "phi-2", "olmo", "mpt", "roberta-bpe")


@dataclass(frozen=True)
class ConvertedGguf:
    """A model folder made from a GGUF file.

    `fingerprint` is `gguf:<sha256>` of the GGUF file (`gguf-sampled:<sha256>` above 1 GB, see `files_fingerprint`),
    `quantization` how its tensors are stored, such as `Q4_1`.
    """

    folder: Path
    fingerprint: str
    quantization: str


@dataclass(frozen=True)
class _Header:
    architecture: str
    quantization: str
    pre_tokenizer: str | None


def convert_gguf(spec: ModelSpec, file: Path) -> ConvertedGguf:
    """The model folder for a GGUF file, converted unless the cache holds it, intact.

    Raises `UsageError` for a file that is no GGUF file or whose architecture is not a dense decoder that transformers
    reads (naming the architecture), `EnvironmentProblem` when the file is damaged or the cache cannot be written.
    """
    stat = file.stat()
    return _convert(spec, file.resolve(), stat.st_size, stat.st_mtime_ns, cache_folder())


def cache_folder() -> Path:
    """Where converted models are kept: `NEURON_SIGNATURES_CACHE`, or the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    return (Path(given).expanduser() if given else user_cache_path("neuron-signatures")) / "gguf"


@functools.lru_cache(maxsize=16)
def _convert(spec: ModelSpec, file: Path, size: int, mtime_ns: int, cache: Path) -> ConvertedGguf:
    """Cached by size and time of change, so that a process hashes the file and the folder once."""
    header = _read_header(spec, file)
    fingerprint = _gguf_fingerprint(file, size)
    key = f"{fingerprint.rpartition(':')[2]}-v{_VERSION}"
    converted = ConvertedGguf(cache / key, fingerprint, header.quantization)
    if _is_intact(converted):
        return converted
    with explain_os_errors(cache, next_step=_NEXT_STEP):
        cache.mkdir(parents=True, exist_ok=True)
        with _one_process(cache / f"{key}.lock", file):
            if not _is_intact(converted):  # another process may have made it meanwhile
                _make(spec, file, header, converted)
    return converted


def _gguf_fingerprint(file: Path, size: int) -> str:
    if size <= FULL_HASH_BYTES:
        return f"gguf:{sha256_file(file)}"
    return f"gguf-{files_fingerprint([file])}"


def _read_header(spec: ModelSpec, file: Path) -> _Header:
    where = f"model {spec.name}"
    try:
        metadata, tensors = read_gguf_metadata(str(file))
        architecture = str(metadata["general.architecture"])
    except OSError as e:
        raise EnvironmentProblem(f"cannot be read ({e.strerror or e})", where=where) from e
    except _DAMAGED as e:
        raise UsageError(f"not a readable GGUF file: {condense(e)}", where=where) from e
    if metadata.get(f"{architecture}.expert_count"):
        raise UsageError(
            f"its GGUF architecture {architecture} is a mixture of experts; dense models only", where=where
        )
    if metadata.get("split.count", 0) not in (0, 1) or not tensors:
        step = "Merge the parts first: llama-gguf-split --merge"
        raise UsageError("it is one part of a split GGUF model", where=where, next_step=step)
    file_type = metadata.get("general.file_type")
    pre = metadata.get("tokenizer.ggml.pre") if metadata.get("tokenizer.ggml.model") == "gpt2" else None
    return _Header(architecture, _FILE_TYPES.get(file_type, f"type {file_type}"), pre)


def _is_intact(converted: ConvertedGguf) -> bool:
    """Whether the folder is there with the bytes that were written, by its record."""
    try:
        record = json.loads((converted.folder / RECORD).read_text(encoding="utf-8"))
        return bool(record["files_fingerprint"] == _folder_fingerprint(converted.folder))
    except (OSError, ValueError, KeyError, TypeError):
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


def _make(spec: ModelSpec, file: Path, header: _Header, converted: ConvertedGguf) -> None:
    """Convert into a temporary folder beside the final one, and rename it. The lock is held."""
    final = converted.folder
    if final.exists():
        log.warning("%s is damaged; converting again", final)
    for leftover in final.parent.glob(f"{TMP_PREFIX}-{final.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = final.with_name(f"{TMP_PREFIX}-{final.name}-{secrets.token_hex(3)}")
    try:
        with library_faults(spec), quiet_libraries(), contextlib.redirect_stderr(io.StringIO()):
            config, n_parameters = _checked_config(spec, file, header)
        needed = 4 * n_parameters
        if (free := free_bytes(final.parent)) < needed:
            raise EnvironmentProblem(
                f"no room to convert {file.name}: {human_bytes(needed)} needed, {human_bytes(free)} free",
                where=str(final.parent), next_step=_NEXT_STEP,
            )  # fmt: skip
        log.info("converting %s once (%s, fp32) into %s", file.name, human_bytes(needed), final)
        temporary.mkdir()
        # transformers 5.23 draws a bar of its own here, which no switch turns off.
        with library_faults(spec), quiet_libraries(), contextlib.redirect_stderr(io.StringIO()):
            _save_model(file, config, temporary)
            _load_tokenizer(spec, file, header).save_pretrained(temporary)
        _finish(temporary, final, _record(file, header, converted, temporary))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked_config(spec: ModelSpec, file: Path, header: _Header) -> tuple[PretrainedConfig, int]:
    """The config, and the number of parameters, of an architecture whose neurons can be captured."""
    where = f"model {spec.name}"
    try:
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        with torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(config)
        mlp_shape(shell)
    except UsageError as e:
        raise UsageError(
            f"its GGUF architecture {header.architecture} is not a dense decoder ({e.what})", where=where
        ) from e
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        what = f"its GGUF architecture {header.architecture} is not a causal language model that transformers reads"
        raise UsageError(f"{what}: {condense(e)}", where=where) from e
    return config, sum(p.numel() for p in shell.parameters())


def _save_model(file: Path, config: PretrainedConfig, folder: Path) -> None:
    dequantised, report = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
    )
    if missing := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        raise ValueError(f"the GGUF file lacks {len(missing)} weights of its architecture, such as {missing[0]}")
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(dequantised.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)


def _load_tokenizer(spec: ModelSpec, file: Path, header: _Header) -> TokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    pre = header.pre_tokenizer
    if pre in _DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif pre is not None and pre not in (*GGUF_PRE_TOKENIZER_SPLITS, *_AS_GPT2):
        log.warning(
            "model %s: its tokenizer splits text as %r does, which transformers does not know; GPT-2's rule is used, "
            "so some texts get other tokens than in training", spec.name, pre,
        )  # fmt: skip
    return tokenizer


def _record(file: Path, header: _Header, converted: ConvertedGguf, folder: Path) -> dict[str, Any]:
    return {
        "source": file.name,
        "source_bytes": file.stat().st_size,
        "source_fingerprint": converted.fingerprint,
        **asdict(header),
        "dtype": "fp32",
        "files_fingerprint": _folder_fingerprint(folder),
        "transformers": transformers.__version__,
    }


def _finish(temporary: Path, final: Path, record: dict[str, Any]) -> None:
    """Sync everything, write the record last, put the folder in its place."""
    for path in temporary.iterdir():
        with path.open("rb") as f:
            os.fsync(f.fileno())
    write_json(temporary / RECORD, record)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
