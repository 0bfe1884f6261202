"""The page of a neuron, in the shape of Neuronpedia's feature API.

Field names and meanings are those of Neuronpedia's tables Neuron, Activation, Explanation and ExplanationScore, without
what belongs to an account there. What only this project knows is under the key `neuron_signatures` of each object.

The fields of Neuronpedia are about a direction that is active where it is positive. So the page's fields are those of
the neuron's pole `+`, and `neuron_signatures.negative` holds those of its pole `-`. A number that is unknown or
undefined is null, also where Neuronpedia has 0.
"""

from __future__ import annotations

from typing import Literal

from neuron_signatures.api.base import Answer
from neuron_signatures.api.runs import ScoreFacts
from neuron_signatures.runs.records.names import Part, Pole


class TextExtras(Answer):
    """Of a text: where it is from, and the peak of the pole, over the positions from `counted_from` on."""

    pole: Pole
    pos: int | None
    act: float | None
    """At `pos`."""
    counted_from: int
    window: int | None = None
    """Its number in the corpus; null for a prompt."""
    part: Part | None = None
    stored: bool = True
    """False: only the activation at the peak is stored, and `values` is null elsewhere."""


class Activation(Answer):
    """A text with the activation at each token. `maxValueTokenIndex` is the position of `maxValue`.

    `dataIndex` names the document or prompt, `dataSource` is `corpus` or `prompts`. `binMin` and `binContains` are -1:
    Neuronpedia's mark of a text that is in the list of strongest ones.
    """

    modelId: str
    layer: str
    index: str
    tokens: list[str]
    values: list[float | None]
    maxValue: float | None
    maxValueTokenIndex: int | None
    minValue: float | None
    dataIndex: str | None
    dataSource: Literal["corpus", "prompts"]
    binMin: float = -1.0
    binMax: float | None = None
    binContains: float = -1.0
    neuron_signatures: TextExtras


class ExplanationScore(Answer):
    """`explanationScoreTypeName` is `SCORER/SCORE`, such as `rule/correlation/uniform`."""

    value: float | None
    explanationId: str
    explanationScoreTypeName: str
    explanationScoreModelName: str | None
    jsonDetails: str = ""
    neuron_signatures: ScoreFacts


class Author(Answer):
    """The person who wrote an explanation, or the model that answered; null for an explainer without a model."""

    name: str | None


class ExplanationExtras(Answer):
    pole: Pole
    set: str
    current: bool
    author: Literal["human", "model"]
    up: int
    down: int
    locked: bool
    parent: str | None
    """The explanation that it revises or edits."""
    mode: int | None
    mode_share: float | None


class Explanation(Answer):
    id: str
    modelId: str
    layer: str
    index: str
    description: str
    typeName: str
    explanationModelName: str | None
    authorId: str | None
    author: Author
    notes: str | None
    scoreV1: float | None = None
    scoreV2: float | None = None
    scores: list[ExplanationScore]
    createdAt: str
    neuron_signatures: ExplanationExtras


class NegativePole(Answer):
    """The pole `-`: texts with the most negative activations, and explanations. It promotes what `neg_str` lists."""

    minActApprox: float | None
    activations: list[Activation]
    explanations: list[Explanation]


class Moments(Answer):
    """Over the positions of the corpus that count. `kurtosis` is m4/m2², 3 for a normal distribution."""

    count: int
    mean: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None


class Writes(Answer):
    """What `pos_values` and `neg_values` are: the result that they are from, and its unit. With `prompt_id`: what the
    neuron writes at `pos` of this prompt."""

    source: str
    unit: str
    prompt_id: str | None
    pos: int | None


class Provenance(Answer):
    model_name: str
    model_revision: str | None
    weights_fingerprint: str | None
    model_dtype: str
    quantization: str
    created_at_utc: str
    corpus_sha256: str | None
    parts: list[Part]
    """Parts of the corpus that the texts are from."""


class NeuronExtras(Answer):
    run: str
    layer: int
    neuron: int
    pole: Pole = "+"
    """The pole that the page's own fields are about."""
    units: str
    sampled: bool
    """Whether all activations of the neuron in a sample of the corpus are stored."""
    negative: NegativePole
    moments: Moments | None
    writes: Writes | None
    provenance: Provenance
    notes: list[str]
    """What is left out or unknown, and why."""


class NeuronPage(Answer):
    """`layer` is `<n>-<source>`, such as `3-mlp`. Lists are empty where the run has no data."""

    modelId: str
    layer: str
    index: str
    sourceSetName: str
    createdAt: str
    maxActApprox: float | None
    hasVector: bool = False
    vector: tuple[float, ...] = ()
    vectorLabel: str | None = None
    vectorDefaultSteerStrength: float | None = None
    hookName: str
    topkCosSimIndices: tuple[int, ...] = ()
    topkCosSimValues: tuple[float, ...] = ()
    neuron_alignment_indices: tuple[int, ...] = ()
    neuron_alignment_values: tuple[float, ...] = ()
    neuron_alignment_l1: tuple[float, ...] = ()
    correlated_neurons_indices: tuple[int, ...] = ()
    correlated_neurons_pearson: tuple[float, ...] = ()
    correlated_neurons_l1: tuple[float, ...] = ()
    correlated_features_indices: tuple[int, ...] = ()
    correlated_features_pearson: tuple[float, ...] = ()
    correlated_features_l1: tuple[float, ...] = ()
    neg_str: list[str]
    neg_values: list[float]
    pos_str: list[str]
    pos_values: list[float]
    frac_nonzero: float | None
    freq_hist_data_bar_heights: list[float]
    freq_hist_data_bar_values: list[float]
    logits_hist_data_bar_heights: tuple[float, ...] = ()
    logits_hist_data_bar_values: tuple[float, ...] = ()
    decoder_weights_dist: tuple[float, ...] = ()
    umap_cluster: int | None = None
    umap_log_feature_sparsity: float | None = None
    umap_x: float | None = None
    umap_y: float | None = None
    activations: list[Activation]
    explanations: list[Explanation]
    neuron_signatures: NeuronExtras
