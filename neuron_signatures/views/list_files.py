"""Reading the ranked lists of a run and how each was computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.result_records import (
    ContrastRecord,
    InfluenceRecord,
    NullClass,
    NullDraws,
    NullRecord,
    PeaksRecord,
    SignaturesRecord,
    TargetRecord,
    another_dump,
    read_record,
)
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.columns import read_columns
from neuron_signatures.views.ranked import Kind, ListRef, RankedList

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "peaks": ("layer", "neuron", "mean_peak_abs", "max_act", "max_act_prompt", "max_act_pos", "max_act_token",
              "min_act", "min_act_prompt", "min_act_pos", "min_act_token", "mode_peak_token", "n_peaks"),
    "influence": ("layer", "neuron", "ctx_idx", "ctx_token", "activation"),
    "signatures": ("layer", "neuron", "pole", "class", "name", "n_texts", "max_peak", "mode_peak_token"),
    "contrast": ("layer", "neuron", "pole", "mean_a", "mean_b", "auroc", "q"),
}  # fmt: skip
_SCORE: dict[Kind, str] = {"peaks": "mean_peak_abs", "signatures": "max_peak", "contrast": "score"}
_CONTRAST_SCORE = {"d": "d (A - B)", "auroc": "AUROC - .5", "difference": "mean A - mean B"}
_MOST_CLASSES = 20
ListRecord = InfluenceRecord | PeaksRecord | SignaturesRecord | ContrastRecord
_RECORD: dict[
    Kind, type[InfluenceRecord] | type[PeaksRecord] | type[SignaturesRecord] | type[ContrastRecord]
] = {
    "influence": InfluenceRecord, "peaks": PeaksRecord, "signatures": SignaturesRecord, "contrast": ContrastRecord,
}  # fmt: skip


def list_refs(run_dir: Path, manifest: Manifest | None = None) -> list[ListRef]:
    """The finished lists of a run: influence and contrasts, each newest first, then peaks and signatures. Reads only
    their records.

    With the run's manifest, lists computed from another dump have a `doubt`.
    """
    influence = _newest_first(_ref(run_dir, "influence", s, manifest) for s in results.list_influence(run_dir))
    contrasts = _newest_first(_ref(run_dir, "contrast", s, manifest) for s in results.list_contrasts(run_dir))
    others = []
    for kind, stem in ("peaks", results.NEURONS), ("signatures", results.SIGNATURES):
        with contextlib.suppress(UsageError):  # not made yet
            others.append(_ref(run_dir, kind, stem, manifest))  # type: ignore[arg-type]
    return influence + contrasts + others


def read_list(run_dir: Path, ref: ListRef) -> RankedList:
    """Raises `UsageError` if the list no longer exists, `BadRunError` if its files are damaged."""
    if ref.problem:
        raise UsageError(ref.problem, where=ref.stem)
    record: ListRecord = read_record(run_dir, _record_name(ref.kind, ref.stem), _RECORD[ref.kind])
    column = record.score_column if isinstance(record, InfluenceRecord) else _SCORE[ref.kind]
    table = read_columns(run_dir, ref.stem, tuple(dict.fromkeys((*_COLUMNS[ref.kind], column))))
    score = table.column(column).to_numpy().astype(np.float64)  # null becomes NaN
    score = np.where(np.isfinite(score), score, np.nan)
    order = np.argsort(-np.abs(score), kind="stable")
    table, score = table.take(order), score[order]
    return RankedList(
        ref, _score_name(record), _meta(record), (*filter(None, [ref.doubt]), *record.warnings),
        np.asarray(table.column("layer").to_numpy(), np.int64), np.asarray(table.column("neuron").to_numpy(), np.int64),
        score, table, record.prompt_id if isinstance(record, InfluenceRecord) else None,
    )  # fmt: skip


def files_of(ref: ListRef) -> tuple[str, str]:
    """Names, in `analysis/`, of the files that `read_list` reads."""
    return _record_name(ref.kind, ref.stem), results.table_name(ref.stem)


def target_title(target: TargetRecord, prompt_id: str) -> str:
    """Token, foil and position of a target, visible."""
    foil = f" - {visible(target.foil.token)}" if target.foil else ""
    return f"{visible(target.token.token)}{foil} ({brief(target.mode)}), {brief(prompt_id)} at {target.pos}"


def _newest_first(refs: Iterable[ListRef]) -> list[ListRef]:
    return sorted(sorted(refs, key=lambda r: r.stem), key=lambda r: r.created_at_utc, reverse=True)


def _ref(run_dir: Path, kind: Kind, stem: str, manifest: Manifest | None) -> ListRef:
    try:
        record: ListRecord = read_record(run_dir, _record_name(kind, stem), _RECORD[kind])
    except BadRunError as e:
        return ListRef(kind, stem, stem, "", f"{_record_name(kind, stem)}: {e.what}")
    doubt = "" if manifest is None else another_dump(manifest, record)
    return ListRef(kind, stem, _title(record), record.created_at_utc, doubt=doubt)


def _record_name(kind: Kind, stem: str) -> str:
    return {"peaks": results.ANALYSIS_META, "signatures": results.SIGNATURES_META}.get(kind) or results.meta_name(stem)


def _title(record: ListRecord) -> str:
    if isinstance(record, PeaksRecord):
        return f"peaks over {record.n_prompts} prompts"
    if isinstance(record, SignaturesRecord):
        counts = record.class_counts
        return f"signatures: {counts['semantic']} semantic, {counts['say_x']} say-x"
    if isinstance(record, ContrastRecord):
        return f"contrast: {brief(record.a.text)} vs {brief(record.b.text)}"
    name = f"{brief(record.metric)} by {brief(record.reference_name())}"
    return f"{name} → {target_title(record.target, record.prompt_id)}"


def _score_name(record: ListRecord) -> str:
    if isinstance(record, InfluenceRecord):
        centred = "centred " if record.score_column == "influence_centred" else ""
        return f"{centred}influence ({brief(record.target.function)})"  # also a column name
    if isinstance(record, ContrastRecord):
        return _CONTRAST_SCORE[record.rank_by]
    return "mean peak |act|" if isinstance(record, PeaksRecord) else "largest peak"


def _meta(record: ListRecord) -> tuple[tuple[str, str], ...]:
    made = ("made", f"{record.created_at_utc} by {record.stage} --mode {record.mode}")
    if isinstance(record, InfluenceRecord):
        return *_influence_meta(record), made
    if isinstance(record, ContrastRecord):
        return *_contrast_meta(record), made
    tokens = ("tokens", f"{record.n_tokens} of {record.n_prompts} prompts; {record.bos_rule}")
    if isinstance(record, PeaksRecord):
        return tokens, ("score", "mean over prompts of the largest |act|"), made
    null = record.null or NullRecord()
    nulls = (
        ("shuffled", _drawn(null.shuffled, precision=False)),
        ("other prompts", _drawn(null.other_prompts, precision=True)),
    )
    return ("classes", _counts(record.class_counts)), *nulls, tokens, made


def _influence_meta(record: InfluenceRecord) -> list[tuple[str, str]]:
    target, token, foil = record.target, record.target.token, record.target.foil
    probability = f"p {token.probability:.3g}, rank {token.rank}"
    return [
        ("metric", record.metric),
        ("reference", brief(record.reference_name())),
        ("target", f"{visible(token.token)} ({token.token_id}) after position {target.pos}, {probability}"),
        *([("foil", f"{visible(foil.token)} ({foil.token_id})")] if foil else []),
        ("prompt", brief(record.prompt_id)),
        ("function", f"{target.function} = {target.value:.4g}"),
        ("|influence|", f"{record.total_abs_influence:.4g} in all, {record.n_selected} neurons selected "
                        f"hold {record.selected_share:.0%}"),
    ]  # fmt: skip


def _contrast_meta(record: ContrastRecord) -> list[tuple[str, str]]:
    null = record.null
    found = f"{record.n_found} of {record.n_tested} neurons with q <= {record.max_q:g}"
    shuffled = "not computed" if null.mean is None else f"{null.mean:.1f} on average, at most {null.most}"
    return [
        *((n, f"{brief(s.text)}: {s.n_prompts} prompts, {s.n_positions} positions")
          for n, s in (("A", record.a), ("B", record.b))),
        ("test", f"{record.test}, {record.design}; value of a prompt: {record.reduce} of its positions"),
        ("found", found),
        ("shuffled labels", shuffled),
    ]  # fmt: skip


def _drawn(null: NullDraws, *, precision: bool) -> str:
    """Mean and range of each class over the draws: `say_x 1.7 (0 to 5), precision 0.99`."""
    return (
        "; ".join(_class_draws(k, n, precision) for k, n in null.classes.items() if n.mean is not None)
        or "not computed"
    )


def _class_draws(name: str, n: NullClass, precision: bool) -> str:
    drawn = f"{name} {n.mean:.1f} ({n.low} to {n.high})"
    return f"{drawn}, precision {n.precision:.2f}" if precision and n.precision is not None else drawn


def _counts(classes: dict[str, int]) -> str:
    more = f" and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""
    return ", ".join(f"{brief(name)} {n}" for name, n in list(classes.items())[:_MOST_CLASSES]) + more
