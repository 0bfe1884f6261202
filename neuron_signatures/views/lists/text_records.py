"""What is known of a list in CSV or JSON: from the record of our own stage, else from that of the earlier tool."""

from __future__ import annotations

import shlex
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.result_records import EarlierRecord, read_record
from neuron_signatures.runs.results import ANALYSIS
from neuron_signatures.runs.tokens import brief, visible


def earlier_record(run_dir: Path, name: str) -> EarlierRecord:
    """The record of the earlier tool; without fields if there is none, or if it cannot be read."""
    try:
        return read_record(run_dir, name, EarlierRecord)
    except (BadRunError, UsageError):
        return EarlierRecord()


def earlier_title(kind: str, record: EarlierRecord) -> str:
    """Kind, target and prompt, as far as the record has them."""
    if kind != "influence":
        return kind if record.n_prompts is None else f"{kind} over {record.n_prompts} prompts"
    token = "" if record.target_token_ascii is None else f" → {visible(record.target_token_ascii)}"
    mode = "" if record.target_mode is None else f" ({brief(record.target_mode)})"
    prompt = "" if record.prompt_id is None else f", {brief(record.prompt_id)}"
    pos = "" if record.target_pos is None else f" at {record.target_pos}"
    return f"{brief(record.metric or kind)}{token}{mode}{prompt}{pos}"


def earlier_meta(record: EarlierRecord) -> tuple[tuple[str, str], ...]:
    """The record's fields as label and text; text from data is raw."""
    at = "" if record.target_pos is None else f" after position {record.target_pos}"
    pairs = (
        ("metric", record.metric),
        ("target", None if record.target_token_ascii is None else f"{visible(record.target_token_ascii)}{at}"),
        ("prompt", record.prompt_id),
        ("prompts", None if record.n_prompts is None else str(record.n_prompts)),
        ("made", f"{record.created_at_utc or 'at an unknown time'} by another tool"),
    )
    return tuple((label, brief(text)) for label, text in pairs if text)


def text_note(run_dir: Path, kind: str, file: str, prompt_id: str | None, *, ours: bool) -> str:
    """Where the list is from, and the command that makes it again, which replaces the file only if it is `ours`."""
    mode = [] if kind == "peaks" else ["--mode", kind, *(["--prompt_id", prompt_id] if prompt_id is not None else [])]
    command = ["python", "-m", "neuron_signatures.poc2_analyze_run", "--run_dir", str(run_dir), *mode]
    return (
        f"read from {ANALYSIS}/{file}, because there is no Parquet table; values that it lacks are empty. This command "
        f"makes the list again and {'replaces this file' if ours else 'keeps this file as *.earlier*'}: "
        f"{shlex.join(command)}"
    )
