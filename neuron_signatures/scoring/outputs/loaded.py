"""The model of a run, loaded and checked: activations of texts, predictions and continuations under edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from neuron_signatures.analysis.attribution.precision import DIFFERENCES, default_dtype
from neuron_signatures.interventions.steer.doses import text_of
from neuron_signatures.models.batching import BatchSize, run_in_halves, work_on
from neuron_signatures.models.capture import MlpCapture, pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, accepted_error, check_model
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.records.corpus.encode import encode_documents
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.outputs.copies import EditedCopies
from neuron_signatures.scoring.texts import SIGN

_MOST_ROWS = 32
_CHECKED_NEURONS = 8


class Layout(NamedTuple):
    """How the windows of the records were read by the model: BOS in front (None: none), at most so many tokens of text,
    and the first of them that counts."""

    bos_token_id: int | None
    text_length: int
    first_counted: int

    @classmethod
    def of(cls, corpus: CorpusMeta) -> Layout:
        bos = corpus.bos_token_id if corpus.prepend_bos else None
        n_front = int(bos is not None)
        return cls(bos, corpus.sequence_length - n_front, max(0, corpus.skip_first - n_front))

    @property
    def front(self) -> list[int]:
        return [] if self.bos_token_id is None else [self.bos_token_id]


class Peak(NamedTuple):
    """The largest activation of a text, and over how many positions."""

    act: float
    n_positions: int


@dataclass(frozen=True, eq=False)
class LoadedSubject:
    """In float32, as stage 3 loads it, unless another precision was asked for."""

    model: LoadedModel
    layout: Layout
    _rows: BatchSize = field(default_factory=lambda: BatchSize(_MOST_ROWS))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without BOS, as documents of the corpus are tokenised, cut to the length of a window."""
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # half a surrogate pair is `?`
        return [ids[: self.layout.text_length].tolist() for ids in encode_documents(self.model.tokenizer, clean)]

    def input_of(self, ids: Sequence[int]) -> list[int]:
        """What the model reads: BOS in front if the windows of the records have one."""
        return [*self.layout.front, *ids]

    def acts(self, at: NeuronPole, texts: Sequence[Sequence[int]]) -> list[Float32[np.ndarray, " pos"]]:
        """Activations of the pole at each token of each text, all texts with at least one token.

        Positions count from `layout.first_counted`, as at the start of a document in the records.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        n_front, found = len(self.layout.front), {}
        with MlpCapture(self.model.hf, [at.layer]) as capture:

            def run(part: Sequence[int]) -> list[Float32[np.ndarray, " pos"]]:
                batch = pad_batch([self.input_of(texts[i]) for i in part], device=self.model.device)
                rows = capture.run(batch.input_ids, batch.attention_mask)[0][:, n_front:, at.neuron].float().cpu()
                return [SIGN[at.pole] * rows[row, : len(texts[i])].numpy() for row, i in enumerate(part)]

            done = run_in_halves(
                run, order, size=self._rows, unit="texts",
                work=lambda i: work_on(self.model.hf, "the activations of a text", texts[i]),
            )  # fmt: skip
            for i, acts in zip(order, (acts for some in done for acts in some), strict=True):
                found[i] = acts
        return [found[i] for i in range(len(texts))]

    def peaks(self, at: NeuronPole, texts: Sequence[str]) -> list[Peak | None]:
        """The largest activation of the pole over the counted positions of each text; None without such a position."""
        ids, first = self.encode(texts), self.layout.first_counted
        counted = [i for i, one in enumerate(ids) if len(one) > first]
        found: list[Peak | None] = [None] * len(texts)
        for i, acts in zip(counted, self.acts(at, [ids[i] for i in counted]), strict=True):
            found[i] = Peak(float(acts[first:].max()), len(acts) - first)
        return found

    def copies(self, text_ids: Sequence[int], layer: int) -> EditedCopies:
        """Copies of a text, each of which has one neuron of the layer edited."""
        return EditedCopies(self.model, tuple(self.input_of(text_ids)), layer, self._rows)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return token_strings(self.model.tokenizer, ids)

    def continued(self, text_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """The text of the new tokens as it continues the other, without the end token."""
        ends = {self.model.tokenizer.eos_token_id}
        return text_of(self.model, list(text_ids), [i for i in new_ids if i not in ends])


def open_subject(run: Run, records: Records, overrides: ModelOverrides | None) -> LoadedSubject:
    """The model of the run, checked to be the one that made it.

    Checked are identity and shape (`check_model`), a prompt of the run if it has one, and activations that the records
    store, if they do. Raises `BadRunError` if something differs, and the errors of loading.
    """
    given = overrides or ModelOverrides()
    dtype = given.dtype or default_dtype(run.manifest, ["ablation"])
    reason = DIFFERENCES if given.dtype is None else None
    model = check_model(run, replace(given, dtype=dtype), dtype_reason=reason)
    subject = LoadedSubject(model, Layout.of(records.corpus.meta))
    _check_records(run, records, subject)
    return subject


def _check_records(run: Run, records: Records, subject: LoadedSubject) -> None:
    """Raise `BadRunError` if the activations of a window that the records store are not those of the model.

    The window is, for each of a few neurons of one layer, the one with its largest activation in the sample.
    """
    chosen = [n for n in records.sampled_neurons if n[0] == records.sampled_neurons[0][0]][:_CHECKED_NEURONS]
    error = norm = 0.0
    for layer, neuron in chosen:
        sample = records.sample(layer, neuron)
        if not len(sample.windows):
            return
        most = max(range(len(sample.windows)), key=lambda i: float(np.abs(sample.acts_of(i)).max()))
        ids = records.corpus.token_ids(int(sample.windows[most])).tolist()
        found = subject.acts(NeuronPole(layer, neuron, "+"), [ids])[0]
        stored = np.asarray(sample.acts_of(most), np.float32)
        error += float(((found - stored) ** 2).sum())
        norm += float((stored**2).sum())
    accepted = accepted_error(run.manifest, subject.model.spec.dtype)
    if norm and not (error / norm) ** 0.5 <= accepted:
        what = f"recomputed activations of the records differ from the stored ones by {(error / norm) ** 0.5:.2g} "
        what += f"(at most {accepted:.2g} is rounding)"
        raise BadRunError(what, where=str(run.path), next_step="Use the model and the records of one run")
