"""What a run's records hold, for listings: read from the stage records only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import counted, human_bytes
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS, RECORDS_META, SAMPLE_META
from neuron_signatures.runs.records.stage_meta import Meta, read_meta


@dataclass(frozen=True)
class RecordsSummary:
    """The records of a run. Numbers are None where a step is not finished; `problem` says what is damaged."""

    n_documents: int | None = None
    n_tokens: int | None = None
    """Tokens of the corpus."""
    n_neurons: int | None = None
    n_layers: int | None = None
    n_chosen: int | None = None
    """Neurons whose activations in a sample are stored."""
    n_bytes: int = 0
    """Size of all files."""
    problem: str = ""

    def text(self) -> str:
        """In one line."""
        if self.problem:
            return f"damaged: {self.problem}"
        if self.n_documents is None:
            return "unfinished"
        parts = [f"{self.n_documents:,} documents, {self.n_tokens:,} tokens"]
        if self.n_neurons is None:
            return f"{parts[0]}; neurons unfinished"
        parts.append(f"{self.n_neurons:,} neurons of {counted(self.n_layers or 0, 'layer')}")
        parts.append("no sample" if self.n_chosen is None else f"{self.n_chosen:,} of them with a sample")
        return ", ".join([*parts, human_bytes(self.n_bytes)])


def summarise_records(run_dir: Path) -> RecordsSummary | None:
    """None if the run has no folder of records."""
    if not (run_dir / RECORDS).is_dir():
        return None
    try:
        corpus = _meta(run_dir, CORPUS_META, CorpusMeta)
        records = _meta(run_dir, RECORDS_META, RecordsMeta)
        sample = _meta(run_dir, SAMPLE_META, SampleMeta)
    except BadRunError as e:
        return RecordsSummary(problem=e.what)
    return RecordsSummary(
        n_documents=corpus.n_documents if corpus else None,
        n_tokens=corpus.n_tokens if corpus else None,
        n_neurons=len(records.layers) * records.d_mlp if records else None,
        n_layers=len(records.layers) if records else None,
        n_chosen=sample.n_neurons if sample else None,
        n_bytes=sum(f.bytes for meta in (corpus, records, sample) if meta for f in meta.files),
    )


def _meta(run_dir: Path, name: str, kind: type[Meta]) -> Meta | None:
    """None if it does not exist."""
    try:
        return read_meta(run_dir, name, kind)
    except UsageError:
        return None
