"""What can be searched in a run, from its records."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.results import ANALYSIS, WRITES_META
from neuron_signatures.runs.search.folder import SEARCH_FOLDER
from neuron_signatures.runs.search.hits import Contents, Embedder
from neuron_signatures.runs.search.names import WRITES_COMMAND
from neuron_signatures.runs.search.record import EmbedderFacts, SearchRecord, read_search
from neuron_signatures.runs.search.texts import RECORDS_SOURCE, update_command


def index_or_none(run_dir: Path) -> SearchRecord | None:
    """The record of the index; None if there is none. Raises `BadRunError` if it is damaged."""
    try:
        return read_search(run_dir)
    except UsageError:
        return None


def contents_of(run_dir: Path) -> Contents:
    """Raises `BadRunError` for a damaged record."""
    found, update = index_or_none(run_dir), update_command(run_dir)
    has_tokens = inside(run_dir, f"{ANALYSIS}/{WRITES_META}").is_file()
    notes = [] if has_tokens else [f"no search by token: make write scores with `{WRITES_COMMAND} --run_dir {run_dir}`"]
    if found is None:
        there = "explanations are searched by words, exemplars not, and nothing by meaning"
        notes.insert(0, f"there is no search index: {there}; {update} makes one")
        return Contents(0, 0, False, None, has_tokens, notes=tuple(notes))
    record, facts = found
    if RECORDS_SOURCE in SEARCH_FOLDER.outdated(run_dir, record):
        notes.append(
            f"the records changed after the index was made, so exemplars are left out; {update} makes it again"
        )
    if "explanation" in facts.kinds and (changed := _changed(run_dir, found)):
        notes.append(
            f"explanations of {', '.join(changed[:5])} changed after the index was made; {update} makes it again"
        )
    if facts.embedder is None:
        notes.append(
            f"the index has no vectors, so nothing is searched by meaning; {update} --embedder minilm adds them"
        )
    return Contents(
        facts.n_explanations, facts.n_exemplars, True, embedder_of(facts.embedder), has_tokens,
        record.created_at_utc, tuple(notes),
    )  # fmt: skip


def embedder_of(facts: EmbedderFacts | None) -> Embedder | None:
    return None if facts is None else Embedder(facts.name, facts.fingerprint, facts.revision, facts.dimensions)


def _changed(run_dir: Path, found: SearchRecord) -> list[str]:
    """Sets whose logs have another size than was read."""
    logs, there = found.facts.logs, SETS.names(run_dir)
    sizes = {name: _size(run_dir, name) for name in there}
    return sorted({*(n for n in there if n not in logs or sizes[n] != logs[n].n_bytes), *(logs.keys() - set(there))})


def _size(run_dir: Path, name: str) -> int:
    try:
        return SETS.path(run_dir, name).stat().st_size
    except FileNotFoundError as e:
        where = str(run_dir / EXPLANATIONS)
        raise BadRunError(f"set {name} was removed while it was read", where=where, next_step="Try again") from e
