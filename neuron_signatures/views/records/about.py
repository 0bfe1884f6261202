"""What a run's records are of, as label and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.tokens import brief

PART_HELP = (
    "Each document belongs to one part. Explanations are written from explain and chosen on select; report is only for "
    "the final score, so whoever looks at it should not write explanations afterwards."
)


def records_facts(records: Records) -> list[tuple[str, str]]:
    """The corpus, the recorded neurons, and those whose activations are kept; text from data is raw."""
    corpus, meta, sample = records.corpus.meta, records.meta, records.sample_meta
    shares = ", ".join(f"{part} {corpus.documents_by_part.get(part, 0):,}" for part in PARTS)
    stopped = "" if corpus.complete else f"; reading stopped early: {corpus.stopped or 'not recorded'}"
    neurons = f"{len(meta.layers) * meta.d_mlp:,} in layers {spans(meta.layers)}"
    facts = [
        ("corpus", source_text(corpus.source) + stopped),
        ("documents", f"{corpus.n_documents:,} ({shares})"),
        ("windows", f"{corpus.n_windows:,} of at most {corpus.sequence_length} tokens; {corpus.n_counted:,} count"),
        ("neurons", f"{neurons}; {meta.n_dead:,} dead, {meta.n_nearly_dead:,} nearly dead"),
        ("strongest", f"{meta.top_k} windows for each neuron, pole and part"),
    ]  # fmt: skip
    kept = "of no neuron" if sample is None else _sample_text(sample.n_neurons, sample.n_windows, sample.chosen_by)
    return [*facts, ("activations kept", kept), ("made", f"{meta.created_at_utc} by {meta.stage}")]


def source_text(source: Mapping[str, Any]) -> str:
    """What was read, in one line."""
    details = ", ".join(f"{k} {_value(v)}" for k, v in source.items() if k != "kind" and v not in (None, "", []))
    return brief(": ".join(filter(None, (str(source.get("kind", "")), details))) or "not recorded")


def _value(value: Any) -> str:
    if isinstance(value, list):
        shown = " ".join(map(str, value[:3]))
        return shown + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return str(value)


def _sample_text(n_neurons: int, n_windows: int, chosen_by: str) -> str:
    return f"of {n_neurons:,} neurons in {n_windows:,} windows; chosen by {brief(chosen_by)}"
