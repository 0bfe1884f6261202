"""Stage 4 from flags to files: the corpus, the pass over all neurons, the pass over the chosen ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.provenance import device_name
from neuron_signatures.records.corpus.index import build_corpus, corpus_identity
from neuron_signatures.records.corpus.journal import JOURNAL
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.pass1.finish import merge_states
from neuron_signatures.records.pass1.run import FirstPass, PassSettings, run_first_pass
from neuron_signatures.records.pass1.shards import finished_shards, state_files
from neuron_signatures.records.pass1.state import Header
from neuron_signatures.records.pass2.run import run_second_pass
from neuron_signatures.records.request import ExistingRun, NewRun, RecordsRequest
from neuron_signatures.records.summary import RecordsSummary
from neuron_signatures.records.target_run import (
    STAGE,
    ModelPlan,
    create_run,
    load_planned,
    plan_for_model,
    plan_for_run,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import EARLIER_BACKEND, Backend, join_some
from neuron_signatures.runs.plain import now_utc
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta, corpus_digest
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS, RECORDS_META, SAMPLE_META
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.records.writing import write_all_neurons
from neuron_signatures.runs.results import ResultsWriter, open_results
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 2048, 16384
_BATCHES_PER_BLOCK = 4
