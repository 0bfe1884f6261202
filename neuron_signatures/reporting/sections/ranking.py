"""Is the ranking right: agreement with true ablations, and with random sets of neurons."""

from __future__ import annotations

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, facts, fold, missing, note, p, problem, table
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.svg import Axes, Band, Line, Null, Scale, curves, interval_row, key
from neuron_signatures.runs.result_records import MetricValidation, ValidationRecord, read_record
from neuron_signatures.runs.results import list_validations
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions.sheets import cell_text, share_text
from neuron_signatures.views.lists.list_files import target_title
from neuron_signatures.views.lists.validated import best_line, measured_line, unreadable_validations

TITLE = "Is the ranking right?"
_ROW_WIDTH = 150.0


def ranking(run: ReportRun) -> Section:
    lead = join([
        "A ranking is a calculation. To test it, neurons are ", el("b", "ablated"), ": their activation is set to the "
        "reference (usually their average over the run), and the model is run again. A good ranking predicts what each "
        "ablation does, and its first neurons alone keep the answer while random sets do not.",
    ])  # fmt: skip
    problems = [problem(line) for line in unreadable_validations(run.run.path)]
    checked = run.choice.validated
    if checked is None:
        return Section("ranking", TITLE, lead, [*problems, _not_validated(run)])
    read = attempt(lambda: read_record(run.run.path, f"{checked.stem}.json", ValidationRecord))
    if read.value is None:
        return Section("ranking", TITLE, lead, [problem(read.problem)])
    v, metric = read.value, run.choice.record.metric if run.choice.record else ""
    body = [*problems, _verdict(v, metric), *(note("warn", brief(w)) for w in v.warnings), _figures(v, metric),
            _agreement(v, metric), _controls(v, metric)]  # fmt: skip
    return Section("ranking", TITLE, lead, body, _short(run, v, metric))


def _not_validated(run: ReportRun) -> Html:
    c = run.choice
    n = len(list_validations(run.run.path))
    if c.record is None or c.prompt is None:
        return p("There is no influence ranking to test.")
    t = c.record.target
    flags = ["--mode", "influence", "--prompt_id", c.record.prompt_id, "--target_mode", "next_token",
             "--target_token", t.token.token, *(["--foil_token", t.foil.token] if t.foil else []),
             "--target_pos", str(t.pos), "--influence_metric", "all", "--validate"]  # fmt: skip
    others = f" ({n} other ranking{'s were' if n > 1 else ' was'})" if n else ""
    return missing(f"This ranking was not compared with ablations{others}. This command does that:",
                   run.command("poc2_analyze_run", *flags))  # fmt: skip


def _verdict(v: ValidationRecord, metric: str) -> Html:
    shown = ""
    if metric:
        shown = f"{brief(metric)}{_why(v, metric)}"
    return facts([
        ("shown in this report", shown),
        ("target", target_title(v.target, v.prompt_id)),
        ("best for single neurons", best_line(v.winner_single, v.winner_single_why)),
        ("best for sets", best_line(v.winner_sets, v.winner_sets_why)),
        ("compared with", measured_line(v)),
    ])  # fmt: skip


def _why(v: ValidationRecord, metric: str) -> str:
    """Why this ranking is the one that is shown; empty if it was chosen by a flag."""
    together = ": an answer is made by a set of neurons together, and "
    if v.winner_sets == metric:
        return f"{together}this ranking is the best for sets"
    least = min((m.cmd for m in v.metrics if m.cmd is not None), default=None)
    own = next((m.cmd for m in v.metrics if m.metric == metric), None)
    return f"{together}this ranking has the least CMD (below)" if own is not None and own == least else ""


def _figures(v: ValidationRecord, metric: str) -> Html:
    """Faithfulness and completeness against the size of the set."""
    metrics = [m for m in v.metrics if m.curve]
    if not metrics:
        return note("plain", "No sets were scored: ablating all neurons changes the target too little.")
    captions = (
        ("faithfulness", "Keep only the first k",
         "Share of the answer's logit that is left when every neuron but the first k is ablated. 1 is everything; "
         "better rankings rise earlier. Grey bars: random sets of the same size, 5th to 95th percentile."),
        ("completeness", "Ablate the first k",
         "Share that is left when the first k neurons are ablated. Better rankings fall earlier."),
    )  # fmt: skip
    figures = []
    for what, title, text in captions:
        lines = [_line(m, what, is_main=m.metric == metric) for m in metrics]
        bands = _bands(metrics, metric) if what == "faithfulness" else []
        # far values of small sets would flatten the rest
        drawn = curves(lines, Axes("neurons in the set, k", "", log_x=True, low=-0.2, high=1.2, levels=(0, 1)), bands,
                       label=f"{title}: share of the logit against the number of neurons")  # fmt: skip
        figures.append(el("figure", drawn, el("figcaption", el("b", f"{title}. "), text)))
    return join([el("div", *figures, class_="figs"), key([brief(m.metric) for m in metrics])])


def _line(m: MetricValidation, what: str, *, is_main: bool) -> Line:
    points = [(c.k, getattr(c, what)) for c in m.curve if getattr(c, what) is not None and c.k > 0]
    ys = [min(max(y, -0.25), 1.25) for _, y in points]
    return Line(m.metric, [float(k) for k, _ in points], ys, is_main)


def _bands(metrics: list[MetricValidation], metric: str) -> list[Band]:
    own = [m for m in metrics if m.metric == metric] or metrics
    return [
        Band([float(c.k)], [c.low], [c.high], [c.random_mean])
        for m in own for c in m.controls
        if c.low is not None and c.high is not None and c.random_mean is not None and c.k > 0
    ]  # fmt: skip


def _agreement(v: ValidationRecord, metric: str) -> Html:
    """Correlations with the effects of single ablations."""
    scale = Scale(-1.0 if any((m.spearman or 0) < 0 or (m.pearson or 0) < 0 for m in v.metrics) else 0.0, 1.0,
                  4.0, _ROW_WIDTH - 4.0)  # fmt: skip
    rows = []
    for m in v.metrics:
        rows.append([
            _name(m.metric, metric), _number(m.spearman), _interval(m.spearman_low, m.spearman_high),
            interval_row(scale, m.spearman, m.spearman_low, m.spearman_high, label=f"Spearman {m.spearman}"),
            _number(m.pearson), _interval(m.pearson_low, m.pearson_high), _number(m.cmd), _plus_minus(m.cmd_spread),
            "" if m.smallest_k is None else f"{m.smallest_k:,}",
        ])  # fmt: skip
    columns = [
        Column("ranking", False), Column("Spearman", help="Rank correlation of the scores with the true effects."),
        Column("95 % interval", False), Column("0 to 1" if scale.low == 0 else "-1 to 1", False),
        Column("Pearson"), Column("95 % interval", False),
        Column("CMD", help="Area between the faithfulness curve and 1; 0 is best."), Column("±", False),
        Column(f"k for {share_text(v.kept_share)}", help="Neurons of the smallest set that keeps this share."),
    ]  # fmt: skip
    explained = p(
        "Spearman and Pearson: correlation of a ranking's scores with the true effects of ablating single neurons; 1 "
        "is perfect, a random order gives 0. CMD: area between the curve “keep only the first k” and 1; smaller is "
        "better. ± is its standard deviation when the reference is an average over other prompts.", class_="small",
    )  # fmt: skip
    return join([el("h3", "Agreement with true ablations"), table(columns, rows), explained])


def _controls(v: ValidationRecord, metric: str) -> Html:
    """Sets against random sets, of the chosen ranking; the others folded."""
    own = [m for m in v.metrics if m.metric == metric and m.controls]
    others = [m for m in v.metrics if m.metric != metric and m.controls]
    if not own and not others:
        return NOTHING
    explained = p(
        "Random sets have as many neurons of each layer. p is the share of random sets (at least one is counted) that "
        "keep as much of the logit as the first k of the ranking.", class_="small",
    )  # fmt: skip
    rest = fold("the other rankings", _control_table(others)) if own and others else None
    return join([el("h3", "Against random sets of neurons"), _control_table(own or others), explained, rest])


def _control_table(metrics: list[MetricValidation]) -> Html:
    columns = [Column("ranking", False), Column("k"), Column("kept"), Column("random mean"), Column("spread"),
               Column("5 %"), Column("95 %"), Column("p"), Column("sets drawn"), Column("", False)]  # fmt: skip
    scale = Scale(-0.05, 1.0, 4.0, _ROW_WIDTH - 4.0)
    rows = []
    for m in metrics:
        for c in m.controls:
            null = Null(c.random_mean, c.low, c.high)
            rows.append([
                brief(m.metric), f"{c.k:,}", _number(c.observed), _number(c.random_mean), _number(c.random_std),
                _number(c.low), _number(c.high), cell_text(c.p, "p"), f"{c.n_random:,}",
                interval_row(scale, c.observed, None, None, null, label=f"kept {c.observed}"),
            ])  # fmt: skip
    return table(columns, rows)


def _short(run: ReportRun, v: ValidationRecord, metric: str) -> list[Html]:
    own = next((m for m in v.metrics if m.metric == metric), None)
    if own is None:
        return []
    said = []
    if own.spearman is not None:
        said.append(f"its order agrees with true ablations (Spearman {own.spearman:.2f}; 0 is chance)"
                    if own.spearman > 0.5 else
                    f"its order agrees only in part with true ablations (Spearman {own.spearman:.2f}; 0 is chance)"
                    )  # fmt: skip
    control = min(own.controls, key=lambda c: c.k, default=None)
    if control is not None and control.observed is not None and control.random_mean is not None:
        p_ = "" if control.p is None else f", p {cell_text(control.p, 'p')}"
        said.append(f"its first {control.k} neurons alone keep {share_text(control.observed)} of the answer's logit, "
                    f"random sets {share_text(control.random_mean)}{p_}")  # fmt: skip
    if not said:
        return []
    return [join(["The ranking was tested: ", "; ".join(said), "."])]


def _name(name: str, metric: str) -> Html:
    return el("b", brief(name)) if name == metric else el("span", brief(name))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _plus_minus(value: float | None) -> str:
    return "" if value is None else f"± {value:.3f}"
