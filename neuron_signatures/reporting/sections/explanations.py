"""Explanations and scores over all neurons: how good are the words, against words of other neurons."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, fold, missing, note, p, problem, table
from neuron_signatures.reporting.score_rows import interval, number, signed
from neuron_signatures.reporting.score_words import (
    headline,
    meaning,
    plot_scale,
    score_name,
    scorer_name,
    undefined_words,
)
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.svg import Null, histogram, interval_row
from neuron_signatures.runs.scores.reader import ScoredSet, Scores
from neuron_signatures.runs.scores.summary import Summary, summarise
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.commands import explain_command
from neuron_signatures.views.explanations.texts import status_words
from neuron_signatures.views.interventions.sheets import share_text
from neuron_signatures.views.records.commands import records_command

TITLE = "How good are the explanations?"
_MOST_FIGURES = 6
_EQUAL_LIFT = 0.005
"""Lifts that differ by less are shown as about equal."""


def explanations(run: ReportRun) -> Section:
    lead = join([
        "An explanation is good if somebody who knows only its words can predict where the neuron is active, on text "
        "that it was not written from. The ", el("b", "null"), " is what explanations of other neurons of the layer "
        "score on the same neuron: a score within its null says nothing, and the ", el("b", "lift"), " above it is "
        "what the words are worth.",
    ])  # fmt: skip
    body = [_sets(run)]
    scores = run.scores.value
    if run.scores.problem:
        return Section("explanations", TITLE, lead, [*body, problem(run.scores.problem)])
    if scores is None:
        if not run.explanations.is_empty:
            body.append(missing("No explanation was scored. This command scores the look-up rules, without a language "
                                "model:", score_command(run)))  # fmt: skip
        return Section("explanations", TITLE, lead, body)
    read = attempt(lambda: _scored(run, scores))
    if read.value is None:
        return Section("explanations", TITLE, lead, [*body, problem(read.problem)])
    parts, short = read.value
    return Section("explanations", TITLE, lead, [*body, *parts], short)


def score_command(run: ReportRun, *flags: str) -> str:
    return run.command("poc6_score_explanations", *flags)


def _sets(run: ReportRun) -> Html:
    """What there is, by set."""
    e = run.explanations
    problems = [problem(line) for line in e.problems[:10]]
    if e.is_empty:
        if run.records.value is None and not run.records.problem:
            return join([*problems, missing("There are no explanations, and no records of a corpus to write them from. "
                                            "These two commands make them:", records_command(run.run.path),
                                            explain_command(run.run.path))])  # fmt: skip
        return join([*problems, missing("No neuron is explained in words yet. This command writes look-up rules:",
                                        explain_command(run.run.path))])  # fmt: skip
    columns = [Column("set", False), Column("explainer", False), Column("model", False), Column("poles"), Column("ok"),
               Column("failed", False), Column("by people"), Column("state", False)]  # fmt: skip
    rows = [
        [brief(s.name), brief(s.explainer) or "people", brief(s.model), f"{s.n_poles:,}", f"{s.counts.get('ok', 0):,}",
         ", ".join(f"{n} {status_words(status)}" for status, n in sorted(s.counts.items()) if status != "ok") or "none",
         str(s.n_by_people or ""), "finished" if s.finished or s.name == "human" else "not finished"]
        for s in e.sets
    ]  # fmt: skip
    return join([*problems, el("h3", "Sets of explanations"), table(columns, rows[: run.detail.rows])])


def _scored(run: ReportRun, scores: Scores) -> tuple[list[Html], list[Html]]:
    """The tables and figures, and a sentence for the summary."""
    reported = [s for s in scores.sets if s.split == "report"]
    if not reported:
        only = "There are values for choosing explanations, and no scores on the part report."
        return [missing(only, score_command(run))], []
    whole = scores.table()
    frame = whole[whole["split"] == "report"]
    summaries = summarise(frame)
    heads = {(s.set, str(s.scorer), s.scorer_model, headline(s)) for s in reported}
    main = [s for s in summaries if (s.set, s.scorer, s.scorer_model, s.score) in heads]
    rest = [s for s in summaries if s not in main and s.score]
    parts = [el("h3", "Scores"), _summary_table(run, main, frame), _notes(reported, main)]
    if rest:
        parts.append(fold("the other scores", _summary_table(run, rest, frame)))
    parts += [_figures(scores, reported, frame), _by_layer(run, frame, main)]
    if n := len(scores.sets) - len(reported):
        parts.append(p(f"{n} result{'s' if n > 1 else ''} on the part select, for choosing explanations, not shown.",
                       class_="small"))  # fmt: skip
    return parts, _short(main, frame)


_READ = (
    "Above null and p ≤ .05: shares of the poles; chance gives 5 % of the second. Best: the neuron predicted by its "
    "own rounded activations. Rules: its look-up rule, a baseline. n: poles of neurons."
)


def _summary_table(run: ReportRun, found: Sequence[Summary], frame: pd.DataFrame) -> Html:
    columns = [
        Column("set", False), Column("scorer", False), Column("score", False), Column("mean"),
        Column("95 % interval", False, "Bootstrap over neurons."),
        Column("beside the null", False, "Line: mean of the null. Grey: mean of the null ± its mean spread."),
        Column("null"), Column("lift"),
        Column("above null", help="Share of the poles whose score is above the mean of their null."),
        Column("p ≤ .05", help="Share of the poles; 5 % is what chance would give."),
        Column("best", help="Ceiling: mean of the best possible score."),
        Column("rules", help="Mean of the look-up rules."),
        Column("n", help="Poles of neurons."),
    ]  # fmt: skip
    rows = [_summary_row(s, frame) for s in found[: run.detail.rows]]
    left = [f"{brief(s.set)}, {scorer_name(s.scorer, s.scorer_model)}: {why}" for s in found if (why := _not_in_it(s))]
    outside = p(f"Not in the means: {'. '.join(dict.fromkeys(left))}.", class_="small") if left else None
    return join([table(columns, rows, stacks=True), p(_READ, class_="small"), outside])


def _summary_row(s: Summary, frame: pd.DataFrame) -> list[str | Html]:
    spread = _spread(s, frame)
    ends = (None, None) if s.null_best is None or spread is None else (s.null_best - spread, s.null_best + spread)
    return [
        brief(s.set), scorer_name(s.scorer, s.scorer_model), el("span", score_name(s.score), title=meaning(s.score)),
        el("b", number(s.mean)), interval(s.low, s.high),
        interval_row(plot_scale(s.score), s.mean, s.low, s.high, Null(s.null_best, *ends),
                     label=f"{s.set} {score_name(s.score)}: mean {number(s.mean)}, null {number(s.null_best)}"),
        number(s.null_best), signed(s.lift), _share(s.share_above_null), _share(s.share_significant),
        number(s.ceiling), number(s.lookup), f"{s.n:,}",
    ]  # fmt: skip


def _spread(s: Summary, frame: pd.DataFrame) -> float | None:
    rows = _rows_of(s.set, s.scorer, s.scorer_model, s.score, frame)
    found = rows["null_sd"].dropna()
    return float(found.mean()) if len(found) else None


def _rows_of(set_name: str, scorer: str, model: str | None, score: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["set"] == set_name) & (frame["scorer"] == scorer) & (frame["score"] == score) &
                 (frame["scorer_model"].fillna("") == (model or "")) & frame["current"]]  # fmt: skip


def _not_in_it(s: Summary) -> str:
    """Undefined scores and failures by reason."""
    parts = [f"{n} undefined: {undefined_words(why)}" for why, n in s.undefined.items()]
    return "; ".join(parts + [f"{n} {status_words(status)}" for status, n in s.failed.items()])


def _notes(reported: Sequence[ScoredSet], main: Sequence[Summary]) -> Html:
    """What the headline scores mean, and what is not finished."""
    words = dict.fromkeys(f"{score_name(s.score)}: {meaning(s.score)}" for s in main if meaning(s.score))
    unfinished = [brief(s.name) for s in reported if not s.finished]
    warned = note("warn", f"Not finished: {', '.join(unfinished)}.") if unfinished else None
    return join([p("; ".join(words) + ".", class_="small") if words else None, warned])


def _figures(scores: Scores, reported: Sequence[ScoredSet], frame: pd.DataFrame) -> Html:
    """The headline scores of all neurons against the draws of their null."""
    figures = []
    for s in reported[:_MOST_FIGURES]:
        name = headline(s)
        values = _rows_of(s.set, s.scorer, s.scorer_model, name, frame)["value"].dropna().tolist()
        if not values:
            continue
        null = scores.null_values(s.name, name)
        title = f"{brief(s.set)}, {scorer_name(s.scorer, s.scorer_model)}"
        caption = f"{len(values):,} explanations (bars) and {len(null):,} of other neurons, the null (line)."
        figures.append(el("figure", histogram(values, null, score_name(name), label=f"scores of {title}"),
                          el("figcaption", el("b", f"{title}. "), caption)))  # fmt: skip
    more = len(reported) - _MOST_FIGURES
    extra = p(f"{more} more scored sets have no figure here.", class_="small") if more > 0 else None
    return join([el("h3", "Scores of all neurons against the null"), el("div", *figures, class_="figs"), extra]) \
        if figures else NOTHING  # fmt: skip


def _by_layer(run: ReportRun, frame: pd.DataFrame, main: Sequence[Summary]) -> Html:
    """The headline scores, layer by layer."""
    keys = {(s.set, s.scorer, s.scorer_model, s.score) for s in main}
    shown = frame[frame["score"].isin([s.score for s in main])]
    found = [s for s in summarise(shown, by=("layer",)) if (s.set, s.scorer, s.scorer_model, s.score) in keys]
    if len({s.group.get("layer") for s in found}) < 2:
        return NOTHING
    columns = [Column("set", False), Column("scorer", False), Column("layer"), Column("mean"),
               Column("95 % interval", False), Column("beside the null", False), Column("null"), Column("lift"),
               Column("n")]  # fmt: skip
    rows = []
    for s in found[: 2 * run.detail.rows]:
        plot = interval_row(plot_scale(s.score), s.mean, s.low, s.high, Null(s.null_best))
        rows.append([brief(s.set), scorer_name(s.scorer, s.scorer_model), str(s.group["layer"]), number(s.mean),
                     interval(s.low, s.high), plot, number(s.null_best), signed(s.lift), f"{s.n:,}"])  # fmt: skip
    return join([el("h3", "By layer"), table(columns, rows, stacks=True)])


def _short(main: Sequence[Summary], frame: pd.DataFrame) -> list[Html]:
    best = _best(main, frame)
    if best is None:
        return []
    name = score_name(best.score)
    return [join([
        f"Explanations of {best.n:,} poles of neurons in the set {brief(best.set)} score {number(best.mean)} on "
        f"average ({name}, by {scorer_name(best.scorer, best.scorer_model)}); explanations of other neurons score "
        f"{number(best.null_best)}.",
    ])]  # fmt: skip


def _best(main: Sequence[Summary], frame: pd.DataFrame) -> Summary | None:
    """The one with the largest lift. Of those about as large, the one with the most draws of a null, then the most
    neurons, so that a rounding difference does not decide."""
    known = [s for s in main if s.mean is not None and s.lift is not None]
    largest = max((s.lift or 0.0 for s in known), default=0.0)

    def order(s: Summary) -> tuple[int, int, str, str, str]:
        rows = _rows_of(s.set, s.scorer, s.scorer_model, s.score, frame)
        return -int(rows["null_n"].fillna(0).max()), -s.n, s.set, s.scorer, s.scorer_model or ""

    return min((s for s in known if (s.lift or 0.0) >= largest - _EQUAL_LIFT), key=order, default=None)


def _share(value: float | None) -> str:
    return "" if value is None else share_text(value)
