"""What the steps of one command of stage 4 share: the run, its model, the writer, and the facts of its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.models.load import LoadedModel, find_device
from neuron_signatures.records.pass1.plan import default_batch_size
from neuron_signatures.records.request import RecordsRequest
from neuron_signatures.records.target_run import STAGE, ModelPlan, load_planned
from neuron_signatures.runs.manifest import EARLIER_BACKEND, Backend
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import corpus_digest
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.versions import now_utc


@dataclass
class Command:
    """A command on a run. The model is loaded when it is first needed."""

    request: RecordsRequest
    run: Run
    plan: ModelPlan
    writer: ResultsWriter
    progress: ProgressOf
    _model: LoadedModel | None = None

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def backend(self) -> Backend:
        return self.run.manifest.backend or EARLIER_BACKEND

    @property
    def model(self) -> LoadedModel:
        if self._model is None:
            self._model = load_planned(self.run, self.plan)
        return self._model

    def batch_size(self, corpus: Corpus) -> int:
        """The default for the device of the model, which need not be loaded."""
        return default_batch_size(find_device(self.plan.spec.device).type, corpus.meta.sequence_length)

    def facts(self, corpus: Corpus) -> dict[str, Any]:
        """What identifies the model and the corpus of a pass."""
        identity, spec = self.plan.identity, self.plan.spec
        return {
            "model_revision": identity.revision,
            "weights_fingerprint": identity.weights_fingerprint,
            "quantization": identity.quantization,
            "model_dtype": spec.dtype,
            "backend": self.backend,
            "corpus_sha256": corpus_digest(corpus.meta),
        }

    def model_fields(self, corpus: Corpus) -> dict[str, Any]:
        """The fields that both stage records have."""
        m = self.run.manifest
        return {
            "stage": STAGE, "created_at_utc": now_utc(), "model_name": m.model_name,
            "model_revision": m.model_revision, "weights_fingerprint": m.weights_fingerprint,
            "model_dtype": self.plan.spec.dtype, "corpus_sha256": corpus_digest(corpus.meta),
        }  # fmt: skip
