"""The files of a validation: the record, the curves as a table, a figure, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.targets import ResolvedTarget
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.report_text import number
from neuron_signatures.analysis.validation.best import SETS_CRITERION, SINGLE_CRITERION
from neuron_signatures.analysis.validation.curves import MetricValidation
from neuron_signatures.analysis.validation.sample import Sample
from neuron_signatures.analysis.validation.sets import KEPT_SHARE
from neuron_signatures.analysis.validation.truth import Truth, pair_scores
from neuron_signatures.analysis.validation.validate import Validation
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt
from neuron_signatures.runs.manifest import Dtype
from neuron_signatures.runs.results import ResultsWriter, effects_stem, meta_name, table_name
from neuron_signatures.runs.stage_record import stage_record
from neuron_signatures.runs.tokens import ascii_token
from neuron_signatures.stats.stratified import Estimate

_LEGEND_WIDTH = 40


def write_validation(
    writer: ResultsWriter,
    stem: str,
    found: Validation,
    truth: Truth,
    rankings: Sequence[Attribution],
    reference: Reference,
    checked: CheckedPrompt,
    resolved: ResolvedTarget,
    settings: dict[str, Any],
    not_compared: Mapping[str, str],
) -> dict[str, Any]:
    """Write `stem.json`, `stem.parquet` (curves), `stem.png` and last the record; returns that record.

    The single effects of a sample are in `stem_effects.parquet`; others are in the table of ablation. `not_compared`
    are metrics of the command that are not compared with effects, and why.
    """
    record = validation_record(found, reference, checked, resolved, settings, not_compared)
    writer.begin(meta_name(stem), companions=[table_name(effects_stem(stem))])
    writer.json(f"{stem}.json", record)
    writer.table(stem, curves_frame(found, reference), csv=False)
    if truth.sample is not None:
        writer.table(effects_stem(stem), effects_frame(truth, truth.sample, rankings), csv=False)
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
    not_compared: Mapping[str, str],
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
        n_pairs=found.n_pairs,
        n_measured=found.n_measured,
        sampled=found.sampled,
        n_sets=found.n_sets,
        top_from=settings["top_from"],
        left_out=found.left_out,
        not_compared=not_compared,
        m_full=found.full,
        m_empty=found.empty,
        min_effect=found.min_effect,
        sets_scored=found.scored,
        truth=truth_line(found, reference),
        kept_share=KEPT_SHARE,
        metrics=[_metric_record(m) for m in found.metrics],
        winner_single=found.single.name,
        winner_single_why=found.single.why,
        winner_single_criterion=SINGLE_CRITERION,
        winner_sets=found.sets.name,
        winner_sets_why=found.sets.why,
        winner_sets_criterion=SETS_CRITERION,
        warnings=[
            *checked.warnings,
            *resolved.warnings,
            *(f"{metric} is not compared: {why}" for metric, why in not_compared.items()),
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


def effects_frame(truth: Truth, sample: Sample, rankings: Sequence[Attribution]) -> pd.DataFrame:
    """One row per sampled pair: its effect, `weight` (how many pairs it stands for), and the score of each metric."""
    effects = truth.effects
    n_layers, n_pos, n_neurons = effects.scores.shape
    layer, pos, neuron = np.unravel_index(sample.rows, (n_layers, n_pos, n_neurons))
    frame = pd.DataFrame(
        {
            "layer": np.array(effects.layers)[layer],
            "neuron": neuron,
            "ctx_idx": np.array(effects.positions)[pos],
            "effect": pair_scores(effects, effects)[sample.rows],
            "weight": sample.strata.weights,
        }
    )
    return frame.assign(**{a.metric: pair_scores(a, effects)[sample.rows] for a in rankings})


def truth_line(found: Validation, reference: Reference) -> str:
    """What the scores are compared with."""
    where = "" if len(found.positions) == 1 else f" at one of {len(found.positions)} positions"
    return f"effects of ablating single neurons{where} to the reference ({reference.name})"


def table_lines(found: Validation, reference: Reference) -> list[str]:
    """The tables for stdout: agreement of single neurons, sets, and which ranking is best at each."""
    singles = [f"{'single neurons':18}{'pearson':>23}{'spearman':>23}"]
    singles += [f"{m.metric:18}" + "".join(f"{_with_interval(e):>23}" for e in m.correlation) for m in found.metrics]
    return [
        *singles,
        _measured_line(found, reference),
        f"best: {found.single.why}",
        f"  ({SINGLE_CRITERION})",
        "",
        *(_set_lines(found) if found.scored and found.metrics else []),
        f"{found.n_units} neurons of layers {found.layers[0]}..{found.layers[-1]} at position(s) "
        f"{', '.join(map(str, found.positions))}; m(M) {found.full:.3f}, m(empty) {found.empty:.3f}; "
        f"{found.n_sets} sets measured",
    ]


def _set_lines(found: Validation) -> list[str]:
    lines = [
        f"{'sets':18}{'CPR':>7}{'CMD':>7}{'spread':>8}{'k 80%':>7}{'f at k':>8}{'random':>8}{'spread':>8}{'z':>7}"
        f"{'p':>8}{'draws':>7}"
    ]
    for m in found.metrics:
        at = m.controls[0]
        cells = [(m.cpr, 7), (m.cmd, 7), (m.cmd_spread, 8)]
        row = f"{m.metric:18}" + "".join(f"{number(value):>{width}}" for value, width in cells)
        row += f"{'-' if m.smallest is None else m.smallest:>7}"
        row += "".join(f"{number(x):>8}" for x in (at.observed, at.random_mean, at.random_std))
        lines.append(row + f"{'-' if at.z is None else f'{at.z:.1f}':>7}{at.p:>8.4f}{at.n_random:>7}")
    k = found.metrics[0].controls[0].k
    return [
        *lines,
        f"f at k = {k}: share of m(M) - m(empty) that the first {k} keep; random sets are layer-matched",
        f"best: {found.sets.why}",
        f"  ({SETS_CRITERION})",
    ]


def _measured_line(found: Validation, reference: Reference) -> str:
    truth = truth_line(found, reference)
    if not found.sampled:
        return f"with the {truth}, {found.n_measured} of {found.n_pairs}; ablation itself cannot be best"
    return (
        f"with the {truth}, a sample of {found.n_measured} of {found.n_pairs}; in brackets, 95 % intervals of the "
        "values for all"
    )


def _with_interval(e: Estimate) -> str:
    interval = "" if e.low is None or e.high is None else f" [{number(e.low)}, {number(e.high)}]"
    return f"{number(e.value)}{interval}"


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
        **{
            f"{name}{end}": value
            for name, estimate in m.correlation._asdict().items()
            for end, value in zip(("", "_low", "_high"), estimate, strict=True)
        },
        "cpr": m.cpr,
        "cmd": m.cmd,
        "cmd_spread": m.cmd_spread,
        "cmd_draws": m.cmd_draws,
        "smallest_k": m.smallest,
        "curve": [
            {"k": k, "faithfulness": f, "completeness": c}
            for k, f, c in zip(m.sizes, m.faithfulness, m.completeness, strict=True)
        ],
        "controls": m.controls,
    }


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
    if found.n_measured < found.n_pairs and not found.sampled:
        of = f"{found.n_measured} of {found.n_pairs} neurons" + (f" (--top_from {top_from})" if top_from else "")
        out.append(f"single effects are known for {of}: correlations are over those")
    if found.left_out:
        out.append(f"no sets are built by {', '.join(found.left_out)}, which has no score for some neurons")
    if dtype != "fp32":
        out.append(f"differences of forward passes in {dtype} are coarse; use --model_dtype fp32")
    return out


def _legend_token(token: str) -> str:
    """The token in ASCII, with escapes for other characters, shortened to the width of the legend."""
    shown = ascii_token(token)
    return shown if len(shown) <= _LEGEND_WIDTH else f"{shown[: _LEGEND_WIDTH - 3]}..."
