"""One neuron of a run in the shape of Neuronpedia's feature API (`api.neuron_page`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuron_signatures.api.neuron_page import (
    Activation,
    Author,
    Explanation,
    ExplanationExtras,
    ExplanationScore,
    Moments,
    NegativePole,
    NeuronExtras,
    NeuronPage,
    Provenance,
    Writes,
)
from neuron_signatures.records.exchange.neuronpedia import Bars, histogram_bars
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.records.names import PARTS, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.units import unit_kind
from neuron_signatures.server.held import Stop
from neuron_signatures.server.problems import not_found
from neuron_signatures.server.runs.neuron_texts import Place, Texts, corpus_texts, prompt_texts
from neuron_signatures.server.runs.opened import OpenedRun
from neuron_signatures.server.runs.score_rows import score_facts
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.facts import write_scores_of
from neuron_signatures.views.neurons.writes import writes_doubt, writes_of

MOST_EXPLANATIONS = 100
"""Of one pole."""


def neuron_page(opened: OpenedRun, at: NeuronAt, *, n_texts: int, stop: Stop) -> NeuronPage:
    """The page of a neuron with at most `n_texts` texts of each pole.

    Raises `BadRunError` if a file that it needs is damaged, and `ProblemError` 404 for a neuron that the model does
    not have.
    """
    m = opened.run.manifest
    _check(m, at)
    place = _place(m, at)
    records = opened.records
    if records is not None and not records.holds(*at):
        records = None
    texts = {pole: _texts(opened, records, place, at, pole, n_texts, stop) for pole in ("+", "-")}
    explanations = _explanations(opened, place, at)
    writes = writes_of(opened.path, at) or next(iter(write_scores_of(opened.path, at)), None)
    promotes, suppresses = ([], []) if writes is None else (writes.promotes, writes.suppresses)
    bars = Bars([], []) if records is None else histogram_bars(records, *at, PARTS)
    notes = list(dict.fromkeys(note for t in texts.values() if t is not None for note in t.notes))
    if writes is not None and (doubt := writes_doubt(opened.run)):
        notes.append(f"what the neuron writes is of another dump: {doubt}")
    extras = NeuronExtras(
        run=opened.path.name, layer=at.layer, neuron=at.neuron, units=unit_kind(m),
        sampled=records is not None and records.sampled(*at),
        negative=NegativePole(
            minActApprox=_strongest(texts["-"]), activations=_activations(texts["-"]), explanations=explanations["-"],
        ),
        moments=None if records is None else _moments(records, at),
        writes=None if writes is None else Writes(source=writes.source, unit=writes.unit, prompt_id=writes.prompt_id,
                                                  pos=writes.pos),
        provenance=_provenance(m, records), notes=notes,
    )  # fmt: skip
    return NeuronPage(
        modelId=place.model, layer=place.layer, index=place.number, sourceSetName=place.layer.partition("-")[2],
        createdAt=m.created_at_utc, maxActApprox=_strongest(texts["+"]),
        hookName=m.hook_name.replace("{layer}", str(at.layer)),
        frac_nonzero=None if records is None else _share_nonzero(records, at),
        freq_hist_data_bar_heights=[float(n) for n in bars.heights], freq_hist_data_bar_values=bars.values,
        pos_str=[encodable(w.token) for w in promotes], pos_values=[w.score for w in promotes],
        neg_str=[encodable(w.token) for w in suppresses], neg_values=[w.score for w in suppresses],
        activations=_activations(texts["+"]), explanations=explanations["+"], neuron_signatures=extras,
    )  # fmt: skip


def _check(m: Manifest, at: NeuronAt) -> None:
    if not 0 <= at.layer < m.n_layers:
        raise not_found(f"there is no layer {at.layer}: the model has layers 0..{m.n_layers - 1}")
    if not 0 <= at.neuron < m.d_mlp:
        raise not_found(f"there is no neuron {at.neuron}: layers have neurons 0..{m.d_mlp - 1}")


def _place(m: Manifest, at: NeuronAt) -> Place:
    source = "mlp" if m.units is None else f"{m.units.source}-{m.units.site}"
    return Place(encodable(m.model_name.rstrip("/").rpartition("/")[2]), f"{at.layer}-{source}", str(at.neuron))


def _texts(
    opened: OpenedRun, records: Records | None, place: Place, at: NeuronAt, pole: Pole, n: int, stop: Stop
) -> Texts | None:
    """Of the corpus, else of the prompts; None if the run has neither for this neuron."""
    if records is not None:
        return corpus_texts(records, place, *at, pole, n)
    if opened.run.stores(*at) and opened.run.prompts:
        return prompt_texts(opened.run, place, *at, pole, n, stop)
    return None


def _activations(texts: Texts | None) -> list[Activation]:
    return [] if texts is None else texts.activations


def _strongest(texts: Texts | None) -> float | None:
    return None if texts is None else texts.strongest


def _explanations(opened: OpenedRun, place: Place, at: NeuronAt) -> dict[Pole, list[Explanation]]:
    """Those that answered, the current ones first, with their scores."""
    scores = opened.scores.of_neuron(*at)
    found: dict[Pole, list[Explanation]] = {}
    for pole in ("+", "-"):
        shown = [s for s in opened.explanations.of(*at, pole) if s.entry.status == "ok"]
        shown.sort(key=lambda s: not s.current)
        found[pole] = [_explanation(s, place, scores) for s in shown[:MOST_EXPLANATIONS]]
    return found


def _explanation(s: Shown, place: Place, scores: Mapping[str, Sequence[ScoreRow]]) -> Explanation:
    e = s.entry
    model = e.answered_by or e.model
    by_human = e.author == "human"
    extras = ExplanationExtras(
        pole=e.pole, set=e.set, current=s.current, author=e.author, up=s.up, down=s.down, locked=s.locked,
        parent=e.parent, mode=e.mode, mode_share=e.mode_share,
    )  # fmt: skip
    return Explanation(
        id=e.id, modelId=place.model, layer=place.layer, index=place.number, description=encodable(e.text),
        typeName=e.explainer, explanationModelName=model, authorId=e.author_name if by_human else None,
        author=Author(name=e.author_name if by_human else model),
        notes="\n".join(f"{n.author_name}: {n.text}" for n in s.notes) or None,
        scores=[_score(row) for row in scores.get(e.id, ())], createdAt=e.created_at_utc, neuron_signatures=extras,
    )  # fmt: skip


def _score(row: ScoreRow) -> ExplanationScore:
    return ExplanationScore(
        value=row.value, explanationId=row.explanation_id,
        explanationScoreTypeName=f"{row.scorer}/{row.score}" if row.score else row.scorer,
        explanationScoreModelName=row.scorer_model, neuron_signatures=score_facts(row),
    )  # fmt: skip


def _moments(records: Records, at: NeuronAt) -> Moments | None:
    """None for imported records, which have only texts."""
    found = records.moments(*at)
    if not found.count:
        return None
    return Moments(count=found.count, mean=found.mean, std=found.std, skewness=found.skewness, kurtosis=found.kurtosis)


def _share_nonzero(records: Records, at: NeuronAt) -> float | None:
    """Of the sampled activations; None if the neuron is not sampled."""
    if not records.sampled(*at):
        return None
    sample = records.sample(*at)
    acts = sample.acts[sample.counts]
    return float((acts != 0).mean()) if len(acts) else None


def _provenance(m: Manifest, records: Records | None) -> Provenance:
    return Provenance(
        model_name=m.model_name, model_revision=m.model_revision, weights_fingerprint=m.weights_fingerprint,
        model_dtype=m.model_dtype, quantization=m.quantization, created_at_utc=m.created_at_utc,
        corpus_sha256=None if records is None else records.meta.corpus_sha256,
        parts=[] if records is None else list(PARTS),
    )  # fmt: skip
