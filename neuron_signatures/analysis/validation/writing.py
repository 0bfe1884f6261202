"""The files of a validation: the record, the curves as a table, a figure, and a table for the terminal."""

from __future__ import annotations

from typing import Any, BinaryIO

import pandas as pd

from neuron_signatures.analysis.attribution.checked_prompt import CheckedPrompt
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.targets import ResolvedTarget
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.report_text import number
from neuron_signatures.analysis.stage_record import stage_record
from neuron_signatures.analysis.validation.validate import KEPT_SHARE, MetricValidation, Validation
from neuron_signatures.runs.manifest import Dtype
from neuron_signatures.runs.results import ResultsWriter, meta_name
from neuron_signatures.runs.tokens import ascii_token

_LEGEND_WIDTH = 40
# A ranking whose set random sets match more often than this cannot be the best for sets.
MAX_P = 0.05


def write_validation(
    writer: ResultsWriter,
    stem: str,
    found: Validation,
    reference: Reference,
    checked: CheckedPrompt,
    resolved: ResolvedTarget,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Write `stem.json`, `stem.parquet` (curves), `stem.png` and last the record; returns that record."""
    record = validation_record(found, reference, checked, resolved, settings)
    writer.begin(meta_name(stem))
    writer.json(f"{stem}.json", record)
    writer.table(stem, curves_frame(found, reference), csv=False)
    with writer.file(f"{stem}.png") as tmp:
        draw(found, resolved.facts.target.token, tmp)
    writer.record(meta_name(stem), {k: v for k, v in record.items() if k != "metrics"})
    return record


def validation_record(
    found: Validation,
    reference: Reference,
    checked: CheckedPrompt,
    resolved: ResolvedTarget,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return stage_record(
        checked.run,
        "validate",
        settings,
        **reference.record(),
        prompt_id=checked.prompt.probe_id,
        target=target_record(resolved),
        analysis_dtype=checked.model.spec.dtype,
        layers=found.layers,
        positions=found.positions,
        n_units=found.n_units,
        n_measured=found.n_measured,
        top_from=settings["top_from"],
        left_out=found.left_out,
        m_full=found.full,
        m_empty=found.empty,
        min_effect=found.min_effect,
        sets_scored=found.scored,
        truth=truth_line(found, reference),
        kept_share=KEPT_SHARE,
        metrics=[_metric_record(m) for m in found.metrics],
        winner_single=winner_single(found),
        winner_sets=winner_sets(found),
        warnings=[
            *checked.warnings,
            *resolved.warnings,
            *_warnings(
                found, checked.model.spec.dtype, settings["top_from"], has_foil=resolved.target.foil_id is not None
            ),
        ],
    )


def curves_frame(found: Validation, reference: Reference) -> pd.DataFrame:
    """One row per metric and set size: `k, share, faithfulness, completeness`."""
    rows = [
        (m.metric, reference.name, k, k / found.n_units, f, c)
        for m in found.metrics
        for k, f, c in zip(m.sizes, m.faithfulness, m.completeness, strict=True)
    ]
    return pd.DataFrame(rows, columns=["metric", "reference", "k", "share", "faithfulness", "completeness"])


def winner_single(found: Validation) -> str | None:
    """The metric whose scores agree best (Spearman) with single ablations; ablation itself is excluded."""
    return _first(_by_single(found))


def winner_sets(found: Validation) -> str | None:
    """The metric whose sets are most faithful (the least CMD), of those that beat random sets (p ≤ `MAX_P` at 1 %).

    Ablation itself is excluded, as above.
    """
    return _first(_by_sets(found))


def truth_line(found: Validation, reference: Reference) -> str:
    """What the scores are compared with."""
    summed = "" if len(found.positions) == 1 else f", summed over {len(found.positions)} positions"
    return f"effects of ablating single neurons to the reference ({reference.name}){summed}"


def table_lines(found: Validation, reference: Reference) -> list[str]:
    """The table for stdout: one line per metric, then the best metrics and the next best."""
    head = (
        f"{'metric':18}{'pearson':>8}{'spearman':>9}{'CPR':>7}{'CMD':>7}{'k 80%':>7}{'f at k':>8}{'random':>8}"
        f"{'spread':>7}{'z':>6}{'p':>8}"
    )
    lines = [head]
    for m in found.metrics:
        at = m.controls[0] if m.controls else None
        cells = [m.correlation.pearson, m.correlation.spearman, m.cpr, m.cmd]
        row = f"{m.metric:18}" + "".join(f"{number(c):>{w}}" for c, w in zip(cells, (8, 9, 7, 7), strict=True))
        row += f"{'-' if m.smallest is None else m.smallest:>7}"
        if at:
            z = "-" if at.z is None else f"{at.z:.1f}"
            row += f"{number(at.observed):>8}{number(at.random_mean):>8}{number(at.random_std):>7}{z:>6}{at.p:>8.4f}"
        lines.append(row)
    k = found.metrics[0].controls[0].k if found.metrics and found.metrics[0].controls else None
    lines += [
        f"{found.n_units} neurons of layers {found.layers[0]}..{found.layers[-1]} at position(s) "
        f"{', '.join(map(str, found.positions))}; m(M) {found.full:.3f}, m(empty) {found.empty:.3f}",
        *([f"f at k = {k}: share of m(M) - m(empty) kept; random sets are layer-matched"] if k else []),
        f"truth: {truth_line(found, reference)}",
        *(
            [f"single effects are of {_count(found.n_measured, 'neuron')} only"]
            if found.n_measured < found.n_units
            else []
        ),
        f"best for single neurons (highest Spearman): {_best_two(_by_single(found))}",
        f"best for sets (least CMD with p <= {MAX_P}): {_best_two(_by_sets(found))}",
        "ablation, the truth itself, takes part in neither",
    ]
    return lines


def draw(found: Validation, target: str, file: BinaryIO) -> None:
    """Faithfulness and completeness against the share of neurons, with random controls, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True)
    for m in found.metrics:
        shares = [100 * k / found.n_units for k in m.sizes]
        (line,) = left.plot(shares, m.faithfulness, marker="o", markersize=3, label=m.metric)
        right.plot(shares, m.completeness, marker="o", markersize=3, color=line.get_color())
        for c in m.controls:
            at = 100 * c.k / found.n_units
            left.errorbar(
                at, c.random_mean, yerr=[[c.random_mean - c.low], [c.high - c.random_mean]], capsize=3,
                color=line.get_color(), alpha=0.5, fmt="x",
            )  # fmt: skip
    smallest = min((k for m in found.metrics for k in m.sizes), default=1)
    for axes, title in ((left, "faithfulness: only the top k kept"), (right, "completeness: the top k ablated")):
        axes.axhline(1, color="0.7", linewidth=0.8)
        axes.axhline(0, color="0.7", linewidth=0.8)
        axes.set(xscale="log", xlabel="% of the neurons measured", ylabel="share of m(M) - m(empty)", title=title)
        # set explicitly, because a logarithmic axis has no limits if every value of the curves is undefined
        axes.set_xlim(80 * smallest / found.n_units, 125)
    named = f"target '{_legend_token(target)}'\n(x: random sets, 5-95 %)"
    if found.metrics:
        legend = left.legend(fontsize=8, title=named, title_fontsize=8)
        legend.get_title().set_parse_math(False)  # a token such as `$_$` is not a formula
    figure.savefig(file, format="png", dpi=130)


def _metric_record(m: MetricValidation) -> dict[str, Any]:
    return {
        "metric": m.metric,
        **m.correlation._asdict(),
        "cpr": m.cpr,
        "cmd": m.cmd,
        "smallest_k": m.smallest,
        "curve": [
            {"k": k, "faithfulness": f, "completeness": c}
            for k, f, c in zip(m.sizes, m.faithfulness, m.completeness, strict=True)
        ],
        "controls": m.controls,
    }


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _ways_out(found: Validation, has_foil: bool) -> str:
    """What may give the neurons an effect that can be shared out, of what the command does not have yet."""
    others = ["--ctx_idx all"] * (len(found.positions) == 1) + ["a foil"] * (not has_foil)
    return ", ".join(others) + (" or " if others else "") + "another --reference"


def _warnings(found: Validation, dtype: Dtype, top_from: str | None, *, has_foil: bool) -> list[str]:
    out = []
    if not found.scored:
        effect = found.full - found.empty
        out.append(
            f"sets are not scored: ablating all neurons {'lowers' if effect >= 0 else 'raises'} the function by "
            f"{abs(effect):.3g}; below {found.min_effect:g} (--min_effect) a share of it has no meaning. "
            f"Try {_ways_out(found, has_foil)}"
        )
    if found.n_measured < found.n_units:
        of = f"{found.n_measured} of {found.n_units} neurons" + (f" (--top_from {top_from})" if top_from else "")
        out.append(f"single effects are known for {of}: correlations are over those")
    if found.left_out:
        out.append(f"no sets are built by {', '.join(found.left_out)}, which has no score for some neurons")
    if dtype != "fp32":
        out.append(f"differences of forward passes in {dtype} are coarse; use --model_dtype fp32")
    return out


def _by_single(found: Validation) -> list[tuple[float, str]]:
    """(Spearman, metric), best first."""
    of = {m.metric: m.correlation.spearman for m in found.metrics if m.metric != "ablation"}
    return sorted(((s, metric) for metric, s in of.items() if s is not None), reverse=True)


def _by_sets(found: Validation) -> list[tuple[float, str]]:
    """(CMD, metric) of the metrics whose first set beats random sets, best first."""
    beats = [m for m in found.metrics if m.metric != "ablation" and m.controls and m.controls[0].p <= MAX_P]
    return sorted((m.cmd, m.metric) for m in beats if m.cmd is not None)


def _first(ranked: list[tuple[float, str]]) -> str | None:
    return ranked[0][1] if ranked else None


def _best_two(ranked: list[tuple[float, str]]) -> str:
    """The best with the runner-up, because a small difference is a tie."""
    return ", then ".join(f"{metric} {number(value)}" for value, metric in ranked[:2]) or "-"


def _legend_token(token: str) -> str:
    """The token in ASCII, with escapes for other characters, shortened to the width of the legend."""
    shown = ascii_token(token)
    return shown if len(shown) <= _LEGEND_WIDTH else f"{shown[: _LEGEND_WIDTH - 3]}..."
