"""The JSON records of stage 2, with the fields that later steps read; a record is validated once, when it is read.

Fields that are not listed here are ignored, because the stages record more than the viewers show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.results import read_json, stage_folder

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Number = float | None
"""None where the number is undefined."""
Label = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=1 << 16)]
"""Text from data: a token, the id of a prompt, the name of a pole."""
PoleName = Annotated[str, Field(pattern=r"^L[0-9]{1,6}N[0-9]{1,9}[+-]$")]


class Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class DumpIdentity(Record):
    """The dump that a result was computed from."""

    created_at_utc: Label
    model_name: Label
    weights_fingerprint: Label | None
    hook_name: Label
    layers: list[Count]
    d_mlp: Count
    n_prompts: Count
    n_tokens: Count


class StageRecord(Record):
    """The fields that every stage record has."""

    stage: Label
    mode: Label
    created_at_utc: Label
    run: DumpIdentity | None = None
    """None where the record does not name its dump."""
    warnings: list[Label] = []


class TokenSettings(Record):
    """The settings that say which positions are included."""

    include_bos: bool
    first_pos: Count | None
    """None: 1, or 0 with `include_bos`."""


class PeaksRecord(StageRecord):
    """`analysis_meta.json`."""

    settings: TokenSettings
    n_prompts: Count
    n_tokens: Count
    bos_rule: Label


class EarlierRecord(Record):
    """A record of the earlier tool of this method, which names no stage. Every field can be missing."""

    created_at_utc: Label = ""
    n_prompts: Count | None = None
    metric: Label | None = None
    prompt_id: Name | None = None
    target_mode: Label | None = None
    target_token_ascii: Name | None = None
    target_pos: Count | None = None


class TargetToken(Record):
    """A target or foil token and its place in the model's prediction; `rank` is 0 for the most likely token."""

    token_id: Count
    token: Name
    probability: float
    rank: Count


class TargetRecord(Record):
    """What an attribution explains."""

    mode: Label
    pos: Count
    function: Label
    value: float
    token: TargetToken
    foil: TargetToken | None = None
    top: list[TargetToken] = []
    """The most likely tokens; earlier records may have none."""


class RankingSettings(Record):
    """The settings of a ranking that its scores depend on, as far as a record has them; all resolved."""

    positions: list[Count] | None = None
    ig_steps: Count | None = None
    ig_path: Label | None = None
    min_mean_tokens: Count | None = None
    """Tokens that a mean as reference should rest on."""


class ReferenceRecords(Record):
    """The records of a corpus that a reference is from."""

    corpus_sha256: Label
    created_at_utc: Label


class InfluenceRecord(StageRecord):
    """`influence_*_meta.json`."""

    settings: RankingSettings = RankingSettings()
    analysis_dtype: Label | None = None

    metric: Label
    reference: Label | None = None
    """What activations are compared with; None in earlier records, where each metric had its own."""
    reference_records: ReferenceRecords | None = None
    reference_tokens: Count | None = None
    """Tokens that a mean as reference rests on; None for other references."""
    score_column: Literal["influence", "influence_centred"] = "influence"
    """The column of the table that is by the reference."""
    ablate_with: Label | None = None
    baseline: Label | None = None
    source: Label | None = None
    prompt_id: Name
    target: TargetRecord
    total_abs_influence: float
    n_selected: Count
    selected_share: float

    def reference_name(self) -> str:
        """The reference of the scores, also of earlier records."""
        if self.reference is not None:
            return self.reference
        return self.ablate_with or self.baseline or (f"{self.source}, negative sign" if self.source else "zero")


class SelectedNeuron(Record):
    layer: Count
    neuron: Count
    ctx_idx: Count


class SelectedRecord(Record):
    """`influence_*.json`: the selected rows of the table, in order of rank."""

    metric: Label
    total: float
    neurons: list[SelectedNeuron]


class NullClass(Record):
    """Poles of one class over the draws of a null; `precision` is 1 - mean / poles of the run, at least 0."""

    mean: Number
    low: Count | None
    high: Count | None
    precision: Number


class NullDraws(Record):
    """The draws of one null."""

    n_draws: Count = 0
    classes: dict[Name, NullClass] = {}


class NullRecord(Record):
    """Class counts of the nulls, and what they cannot show."""

    shuffled: NullDraws = NullDraws()
    other_prompts: NullDraws = NullDraws()
    limit: Label = ""


def _names_main_classes(counts: dict[str, int]) -> dict[str, int]:
    if missing := {"semantic", "say_x"} - counts.keys():
        raise ValueError(f"lacks {', '.join(sorted(missing))}")
    return counts


class SignaturesRecord(StageRecord):
    """`signatures_meta.json`."""

    n_prompts: Count
    n_tokens: Count
    bos_rule: Label
    class_counts: Annotated[dict[Name, Count], AfterValidator(_names_main_classes)]
    null: NullRecord | None = None


class ContrastSide(Record):
    """One side of a contrast: its text as given, its prompts, and its positions in all of them."""

    text: Name
    n_prompts: Count
    n_positions: Count


class ContrastNull(Record):
    """Number of neurons with q ≤ `max_q` over the draws with other labels of the prompts."""

    n_draws: Count = 0
    mean: Number = None
    most: Count | None = None


class ContrastRecord(StageRecord):
    """`contrast_*_meta.json`."""

    a: ContrastSide
    b: ContrastSide
    design: Label
    test: Label
    reduce: Label
    rank_by: Literal["d", "auroc", "difference"]
    max_q: float
    n_tested: Count
    n_found: Count
    null: ContrastNull = ContrastNull()


class GroupRecord(Record):
    """Poles with the same name."""

    name: Name
    cls: Name = Field(alias="class")
    members: list[PoleName]
    n_texts: list[Count] = []
    """Number of different texts that each member rests on."""


class GroupsRecord(Record):
    """`groups.json`."""

    groups: list[GroupRecord]


class WrittenToken(Record):
    """A token and the effect of the neuron on its logit."""

    token_id: Count
    token: Name
    score: float


class NeuronWriteScores(Record):
    layer: Count
    neuron: Count
    activation: float
    promotes: list[WrittenToken]
    suppresses: list[WrittenToken]


class WriteScoresRecord(Record):
    """`*_write_scores.json`."""

    prompt_id: Name
    pos: Count
    unit: Label
    neurons: list[NeuronWriteScores]


class WritesRecord(StageRecord):
    """`write_scores_meta.json`: the write scores of every neuron, without a prompt."""

    unit: Label
    top: Annotated[int, Field(ge=1, le=1 << 12)]
    vocab: Count


class CurvePoint(Record):
    """Share of the function with the first `k` of a ranking kept (faithfulness) or ablated (completeness)."""

    k: Count
    faithfulness: Number
    completeness: Number


class RandomControl(Record):
    """Faithfulness of the first `k` and of random sets with as many neurons of each layer.

    90 % of the `n_random` sets drawn are between `low` and `high`; `exceeded` of them keep at least as much, None in
    earlier records.
    """

    k: Count
    observed: Number
    random_mean: Number
    random_std: Number = None
    low: Number
    high: Number
    n_random: Count
    exceeded: Count | None = None
    p: Number
    z: Number = None


class MetricValidation(Record):
    """One metric. Correlations are with the effects of single ablations.

    The ends of 95 % intervals are None where all effects were measured, and in earlier records. `cmd_draws` are CMD
    with references from resampled prompts, `cmd_spread` is their standard deviation.
    """

    metric: Label
    pearson: Number
    pearson_low: Number = None
    pearson_high: Number = None
    spearman: Number
    spearman_low: Number = None
    spearman_high: Number = None
    cpr: Number
    cmd: Number
    cmd_spread: Number = None
    cmd_draws: list[Number] = []
    smallest_k: Count | None
    curve: list[CurvePoint]
    controls: list[RandomControl]


class ValidationRecord(StageRecord):
    """`validation_*.json`.

    The single effects of `n_measured` of the `n_pairs` (neuron, position) pairs are known; if `sampled`, these were
    drawn at random. In earlier records a winner is the best value, separated from the next or not, and there is no
    reason (`..._why`).
    """

    settings: RankingSettings = RankingSettings()
    analysis_dtype: Label | None = None
    prompt_id: Name
    target: TargetRecord
    reference: Label | None = None
    reference_records: ReferenceRecords | None = None
    truth: Label = "effects of ablating single neurons; in this older file, scores have references of their own"
    n_units: Count
    n_pairs: Count | None = None
    n_measured: Count | None = None
    sampled: bool = False
    top_from: Label | None = None
    kept_share: float
    winner_single: Label | None
    winner_single_why: Label | None = None
    winner_single_criterion: Label | None = None
    winner_sets: Label | None
    winner_sets_why: Label | None = None
    winner_sets_criterion: Label | None = None
    metrics: list[MetricValidation]


R = TypeVar("R", bound=Record)


def read_record(run_dir: Path, name: str, model: type[R]) -> R:
    """A JSON file of a result as a `model`.

    Raises `UsageError` if it has not been made, `BadRunError` with the file, the field and the reason if it is damaged.
    """
    raw = read_json(run_dir, name)
    try:
        return model.model_validate(raw)
    except ValidationError as e:
        where = str(inside(run_dir, f"{stage_folder(name)}/{name}"))
        raise BadRunError(first_error(e), where=where, next_step="Make it again") from e


class FromDump(Protocol):
    """A record that names the dump it was made from."""

    @property
    def run(self) -> DumpIdentity | None: ...


def another_dump(manifest: Manifest, record: FromDump) -> str:
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
