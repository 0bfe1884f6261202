"""Reading prompts: a JSON list or JSON Lines of `{"id", "text"}` or `{"id", "messages"}`, in UTF-8."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input, unique_keys
from neuron_signatures.runs.names import check_ids
from neuron_signatures.runs.plain import refuse_constant

SINGLE_PROMPT_ID = "single_prompt"
_EXAMPLE = 'Each prompt is {"id": "...", "text": "..."} or {"id": "...", "messages": [...]}'
_MAX_DEPTH = 32

MAX_FILE_BYTES = 256 << 20
"""Limit for a prompts file. Its manifest is several times larger, and readers accept manifests of 1 GiB."""
MAX_PROMPT_BYTES = 1 << 20
"""Limit for one prompt: about 250,000 tokens. Tokenizers need 1.6 s and 270 MB for it, and more in proportion."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of the input: `text`, or chat `messages` (then `text` is None), and all other keys as `metadata`."""

    id: str
    text: str | None
    messages: list[dict[str, Any]] | None
    metadata: dict[str, Any]


def read_prompts(path: Path | None, single: str | None, *, limit: int | None) -> list[Prompt]:
    """The prompts to run, in input order. Raises `UsageError` that names the file, the line and the rule."""
    if single is not None:
        return [_prompt({"id": SINGLE_PROMPT_ID, "text": single}, "--single_prompt")]
    if path is None:
        raise UsageError("give --prompts_json FILE or --single_prompt TEXT", next_step="See --help")
    prompts = [_prompt(item, where) for item, where in _items(path)][:limit]
    if not prompts:
        raise UsageError("holds no prompts", where=str(path), next_step=_EXAMPLE)
    check_ids((p.id for p in prompts), where=str(path))
    _check_readable_again(prompts, path)
    return prompts


def prompts_sha256(prompts: list[Prompt]) -> str:
    """A hash of ids, texts, messages and metadata, with which a resumed dump detects changed prompts."""
    digest = hashlib.sha256()
    for p in prompts:
        digest.update(json.dumps([p.id, p.text, p.messages, p.metadata], sort_keys=True).encode())
    return digest.hexdigest()


def _items(path: Path) -> Iterator[tuple[Any, str]]:
    text = read_text_input(path, max_bytes=MAX_FILE_BYTES, next_step=_EXAMPLE)
    is_list = text.lstrip().startswith("[")
    try:
        check_bounds(text.encode())
    except ValueError as e:
        if not is_list:
            _refuse_line(text, path)
        raise UsageError(f"not valid JSON ({e})", where=str(path), next_step=_EXAMPLE) from e
    if is_list:
        for n, item in enumerate(_parse(text, str(path), 0)):
            yield item, f"{path}: prompt {n}"
        return
    for n, line in _lines(text):
        yield _parse(line, str(path), n - 1), f"{path}: line {n}"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    # Not str.splitlines: U+2028 and similar characters may be part of a JSON string.
    return ((n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip())


def _refuse_line(text: str, path: Path) -> None:
    """Raise `UsageError` for the first of the JSON Lines that is invalid on its own."""
    for n, line in _lines(text):
        where = f"{path}: line {n}"
        try:
            check_bounds(line.encode())
        except ValueError as e:
            raise UsageError(f"not valid JSON ({e})", where=where, next_step=_EXAMPLE) from e
        _parse(line, str(path), n - 1)


def _parse(text: str, path: str, lines_before: int) -> Any:
    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as e:
        where = f"{path}: line {lines_before + e.lineno} column {e.colno}"
        raise UsageError(f"not valid JSON ({e.msg})", where=where, next_step=_EXAMPLE) from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"not valid JSON ({e})", where=path, next_step=_EXAMPLE) from e


def _check_readable_again(prompts: list[Prompt], path: Path) -> None:
    """Refuse metadata that a reader would refuse in the manifest, such as 123e98, which is written as 1.23e+100."""
    try:
        check_bounds(_stored(prompts))
    except ValueError as e:
        for p in prompts:
            try:
                check_bounds(_stored([p]))
            except ValueError as one:
                raise UsageError(f"{p.id!r}: metadata has {one}", where=str(path)) from e
        raise UsageError(f"metadata has {e}", where=str(path)) from e


def _stored(prompts: list[Prompt]) -> bytes:
    return json.dumps([[p.metadata, p.messages] for p in prompts], ensure_ascii=False).encode()


def _prompt(item: Any, where: str) -> Prompt:
    if not isinstance(item, dict):
        raise UsageError(f"is a {type(item).__name__}, not an object", where=where, next_step=_EXAMPLE)
    item = dict(item)
    id_, text, messages = item.pop("id", None), item.pop("text", None), item.pop("messages", None)
    if not isinstance(id_, str):
        raise UsageError("has no string id", where=where, next_step=_EXAMPLE)
    if (text is None) == (messages is None):
        raise UsageError(f"{id_!r} needs either text or messages", where=where, next_step=_EXAMPLE)
    if text is not None and not isinstance(text, str):
        raise UsageError(f"{id_!r}: text is not a string", where=where, next_step=_EXAMPLE)
    if text == "":
        raise UsageError(f"{id_!r} is empty", where=where, next_step="Add text, or remove the prompt")
    if messages is not None and not isinstance(messages, list):
        raise UsageError(f"{id_!r}: messages is not a list", where=where, next_step=_EXAMPLE)
    for name, value in (("text", text), ("messages", messages), ("metadata", item)):
        _check_storable(value, f"{where}: {id_!r}: {name}")
    _check_length(json.dumps(messages, ensure_ascii=False) if text is None else text, f"{where}: {id_!r}")
    return Prompt(id_, text, messages, item)


def _check_length(text: str, where: str) -> None:
    n_bytes = len(text.encode())
    if n_bytes > MAX_PROMPT_BYTES:
        what = f"has {n_bytes} bytes of text, the limit for one prompt is {MAX_PROMPT_BYTES}"
        raise UsageError(what, where=where, next_step="Shorten it, or split it into several prompts")


def _check_storable(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what strict UTF-8 JSON cannot hold: lone surrogates, infinities (from 1e999), very deep nesting."""
    if depth > _MAX_DEPTH:
        raise UsageError("nested too deeply", where=where)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as e:
            raise UsageError(
                "has a lone surrogate, which is not valid Unicode", where=where, next_step="Remove it"
            ) from e
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError("has a number that is not finite", where=where)
    elif isinstance(value, dict):
        for k, v in value.items():
            _check_storable(k, where, depth + 1)
            _check_storable(v, where, depth + 1)
    elif isinstance(value, list):
        for v in value:
            _check_storable(v, where, depth + 1)
