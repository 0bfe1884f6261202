"""Messages about the runs of the server's folder, but for the page of a neuron (`neuron_page`)."""

from __future__ import annotations

from neuron_signatures.api.base import Answer
from neuron_signatures.runs.listing import Status
from neuron_signatures.runs.llm.status import Status as ExplanationStatus
from neuron_signatures.runs.manifest import Dtype
from neuron_signatures.runs.records.names import Pole


class RunItem(Answer):
    """One line of a listing. Numbers are null where they are unknown; `problem` says why a run is broken."""

    name: str
    status: Status
    model_name: str = ""
    n_prompts: int | None = None
    n_tokens: int | None = None
    n_bytes: int = 0
    created_at_utc: str = ""
    stages: tuple[str, ...] = ()
    """Stages with a folder in the run."""
    problem: str = ""


class RunList(Answer):
    """A page of the listing. `total` counts all folders of the root; those without a run are not listed."""

    total: int
    offset: int
    runs: list[RunItem]


class StageItem(Answer):
    """A stage folder, and what it holds in one line (empty if there is no summary of it)."""

    name: str
    holds: str = ""


class PromptItem(Answer):
    id: str
    n_tokens: int
    text: str
    """At most 1,000 characters."""


class RunFacts(Answer):
    """What the manifest of a run says, and its stages. `d_mlp` counts the units of a layer: `units` is `neurons`, or
    names the directions, such as `pca res`."""

    name: str
    format_version: int
    created_at_utc: str
    model_name: str
    model_revision: str | None
    weights_fingerprint: str | None
    architecture: str
    n_layers: int
    layers: list[int]
    """The stored ones."""
    d_mlp: int
    units: str
    hook_name: str
    backend: str | None
    attn_implementation: str
    quantization: str
    model_dtype: Dtype
    save_dtype: Dtype
    bos: str
    seed: int | None
    run_device: str
    device_name: str
    n_prompts: int
    n_tokens: int
    n_failed: int
    n_bytes: int
    """Of the activations."""
    versions: dict[str, str]
    stages: list[StageItem]
    prompts: list[PromptItem]
    """The first 100."""
    problems: list[str]
    """Files that are missing or of another size, at most 10."""


class ScoreFacts(Answer):
    """One score with what chance gives beside it. Null where undefined, or not measured.

    The null is what explanations of other neurons score: `null_best` its mean, `null_sd` its spread over `null_n`
    draws, `null_p` = (1 + draws at least as good) / (1 + null_n), `lift` = value - null_best. `ci_low` and `ci_high`
    are a 95 % interval.
    """

    scorer: str
    scorer_model: str | None
    score: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    null_best: float | None
    null_sd: float | None
    null_n: int
    null_p: float | None
    lift: float | None
    ceiling: float | None
    lookup: float | None
    n: int
    coverage: float | None
    undefined: str
    """Why there is no value, or the status if the explanation could not be scored."""


class ExplanationItem(Answer):
    """One explanation. `text` has at most 2,000 characters: the page of the neuron has all of it.

    `scores` holds the first score of each scorer.
    """

    layer: int
    neuron: int
    pole: Pole
    set: str
    id: str
    text: str
    explainer: str
    status: ExplanationStatus
    author: str
    """`model`, or the name of a person."""
    current: bool
    """Whether it is the one to show for its pole in its set."""
    up: int = 0
    down: int = 0
    scores: tuple[ScoreFacts, ...] = ()


class ExplanationList(Answer):
    """A page of the explanations that fit, by layer, neuron, pole and set."""

    total: int
    offset: int
    explanations: list[ExplanationItem]
