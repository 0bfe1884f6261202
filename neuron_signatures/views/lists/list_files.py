"""Reading the ranked lists of a run and how each was computed."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.names import META
from neuron_signatures.runs.result_records import (
    ContrastRecord,
    EarlierRecord,
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
from neuron_signatures.runs.text_tables import text_lists
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.columns import read_columns
from neuron_signatures.views.lists.ranked import Kind, ListRef, RankedList
from neuron_signatures.views.lists.text_records import earlier_meta, earlier_record, earlier_title, text_note
from neuron_signatures.views.neurons.descriptions import NOTHING, Descriptions

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "peaks": ("layer", "neuron", "mean_peak_abs", "max_act", "max_act_prompt", "max_act_pos", "max_act_token",
              "min_act", "min_act_prompt", "min_act_pos", "min_act_token", "mode_peak_token", "n_peaks"),
    "influence": ("layer", "neuron", "ctx_idx", "ctx_token", "activation"),
    "signatures": ("layer", "neuron", "pole", "class", "name", "n_texts", "max_peak", "mode_peak_token"),
    "contrast": ("layer", "neuron", "pole", "mean_a", "mean_b", "auroc", "q"),
}  # fmt: skip
_SCORE: dict[Kind, str] = {"peaks": "mean_peak_abs", "signatures": "max_peak", "contrast": "score"}
_CONTRAST_SCORE = {"d": "d (A - B)", "auroc": "AUROC - .5", "difference": "mean A - mean B"}
_EARLIER_SCORE: dict[Kind, str] = {"peaks": "mean peak |act|", "influence": "influence", "signatures": "largest peak"}
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

    With the run's manifest, lists computed from another dump have a `doubt`. Lists without a Parquet table are those in
    CSV or JSON. No two lists have the same title.
    """
    texts = text_lists(run_dir)
    stems = {*results.list_influence(run_dir), *(stem for stem in texts if stem.startswith("influence_"))}
    influence = _newest_first(_ref(run_dir, "influence", stem, manifest, texts.get(stem, "")) for stem in stems)
    contrasts = _newest_first(_ref(run_dir, "contrast", stem, manifest, "") for stem in results.list_contrasts(run_dir))
    others = []
    kinds: tuple[tuple[Kind, str], ...] = (("peaks", results.NEURONS), ("signatures", results.SIGNATURES))
    for kind, first in kinds:
        for stem in (first, *(s for s in texts if s.startswith(first) and s != first)):
            with contextlib.suppress(UsageError):  # not made yet
                others.append(_ref(run_dir, kind, stem, manifest, texts.get(stem, "")))
    return _distinct(influence + contrasts + others)


def read_list(run_dir: Path, ref: ListRef, described: Descriptions = NOTHING) -> RankedList:
    """The list; `described` is what the run's results say of every neuron, from `read_descriptions`.

    Raises `UsageError` if the list no longer exists, `BadRunError` if its files are damaged."""
    if ref.problem:
        raise UsageError(ref.problem, where=ref.stem)
    record = _record(run_dir, ref.kind, ref.stem, ref.file)
    column = record.score_column if isinstance(record, InfluenceRecord) else _SCORE.get(ref.kind, "influence")
    more = ("prompt_id",) if isinstance(record, EarlierRecord) else ()
    if column == "influence_centred":
        more = ("influence",)
    table = read_columns(run_dir, ref.stem, tuple(dict.fromkeys((*_COLUMNS[ref.kind], column, *more))))
    score = table.column(column).to_numpy().astype(np.float64)  # null becomes NaN
    score = np.where(np.isfinite(score), score, np.nan)
    order = np.argsort(-np.abs(score), kind="stable")
    if isinstance(record, EarlierRecord):
        score_name, meta, warnings = _EARLIER_SCORE[ref.kind], earlier_meta(record), []
    else:
        score_name, meta, warnings = _score_name(record), _meta(record), record.warnings
    prompt_id = record.prompt_id if isinstance(record, InfluenceRecord) else _only_prompt(table)
    ours = not isinstance(record, EarlierRecord)
    source = text_note(run_dir, ref.kind, ref.file, prompt_id, ours=ours) if ref.file else ""
    layer, neuron = (np.asarray(table.column(c).to_numpy()[order], np.int64) for c in ("layer", "neuron"))
    return RankedList(
        ref, score_name, meta, (*filter(None, [source, ref.doubt]), *warnings),
        layer, neuron, score[order], table, order, prompt_id, described,
    )  # fmt: skip


def _only_prompt(table: pa.Table) -> str | None:
    """The prompt that the rows of a list in CSV or JSON name, if they name one."""
    named = table.column("prompt_id").unique().to_pylist() if "prompt_id" in table.column_names else []
    return named[0] if len(named) == 1 else None


def files_of(ref: ListRef) -> tuple[str, str]:
    """Names, in `analysis/`, of the files that `read_list` reads."""
    return _record_name(ref.kind, ref.stem), ref.file or results.table_name(ref.stem)


def target_title(target: TargetRecord, prompt_id: str) -> str:
    """Token, foil and position of a target, visible."""
    foil = f" - {visible(target.foil.token)}" if target.foil else ""
    return f"{visible(target.token.token)}{foil} ({brief(target.mode)}), {brief(prompt_id)} at {target.pos}"


def _newest_first(refs: Iterable[ListRef]) -> list[ListRef]:
    return sorted(sorted(refs, key=lambda r: r.stem), key=lambda r: r.created_at_utc, reverse=True)


def _ref(run_dir: Path, kind: Kind, stem: str, manifest: Manifest | None, file: str) -> ListRef:
    try:
        record = _record(run_dir, kind, stem, file)
    except BadRunError as e:
        return ListRef(kind, stem, stem, "", f"{_record_name(kind, stem)}: {e.what}")
    if isinstance(record, EarlierRecord):
        title, doubt = earlier_title(kind, record), ""
    else:
        title, doubt = _title(record), "" if manifest is None else another_dump(manifest, record)
    title += f" ({file.rpartition('.')[2].upper()})" if file else ""
    return ListRef(kind, stem, title, record.created_at_utc, doubt=doubt, file=file)


def _record(run_dir: Path, kind: Kind, stem: str, file: str) -> ListRecord | EarlierRecord:
    """The record of the list; for one read from `file`, that of the earlier tool if there is none of ours."""
    name = _record_name(kind, stem)
    try:
        found: ListRecord = read_record(run_dir, name, _RECORD[kind])
    except (BadRunError, UsageError):
        if not file:
            raise
        return earlier_record(run_dir, name)
    return found


def _record_name(kind: Kind, stem: str) -> str:
    own = {"peaks": results.ANALYSIS_META, "signatures": results.SIGNATURES_META}.get(kind) or results.meta_name(stem)
    kept = re.search(r"\.earlier\d*$", stem)
    return own.replace(META, kept[0] + META) if kept and kind != "influence" else own


def _distinct(refs: list[ListRef]) -> list[ListRef]:
    """The lists; to equal titles, the part of the stems in which they differ is added."""
    n = Counter(r.title for r in refs)
    groups = {title: [r.stem for r in refs if r.title == title] for title in n if n[title] > 1}
    same = {title: "".join(c[0] for c in takewhile(lambda c: len(set(c)) == 1, zip(*stems, strict=False)))
            for title, stems in groups.items()}  # fmt: skip
    same = {title: s if s in groups[title] else s.rpartition("_")[0] for title, s in same.items()}  # whole words
    rests = [r.stem.removeprefix(same[r.title]).strip("_.") if r.title in same else "" for r in refs]
    return [r._replace(title=f"{r.title} [{brief(rest)}]") if rest else r for r, rest in zip(refs, rests, strict=True)]


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
