"""Whether a result was computed from the tensors that are in the run now, or from another dump."""

from __future__ import annotations

from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.result_records import DumpIdentity, StageRecord


def another_dump(manifest: Manifest, record: StageRecord) -> str:
    """A description of how the record's dump differs from the manifest's; empty if it is the same dump.

    They differ when new tensors are copied over a run folder that has results. Migration keeps them equal.
    """
    dump = record.run
    if dump is None:
        return "its record does not say which dump it was made from"
    differs = [name for name in DumpIdentity.model_fields if getattr(dump, name) != getattr(manifest, name)]
    if not differs:
        return ""
    if "created_at_utc" not in differs:
        return f"made from another dump than this run ({', '.join(differs)})"
    return f"made from another dump ({dump.created_at_utc[:19]}) than this run ({manifest.created_at_utc[:19]})"
