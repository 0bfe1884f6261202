"""The neurons of the answer: a table of the first ones of the ranking, and a card for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.reporting.cards import card
from neuron_signatures.reporting.examples import examples
from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, chips, fold, missing, note, p, problem, table, token
from neuron_signatures.reporting.said import to_read
from neuron_signatures.reporting.score_rows import headline_of, number
from neuron_signatures.reporting.score_words import score_name
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.svg import bar
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.reader import ScoreRow
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.commands import explain_command
from neuron_signatures.views.explanations.shown import ExplanationView
from neuron_signatures.views.explanations.texts import one_line
from neuron_signatures.views.interventions.sheets import share_text, signed_text
from neuron_signatures.views.lists.ranked import RankedList, Row
from neuron_signatures.views.neurons.descriptions import Description
from neuron_signatures.views.records.commands import records_command

METRICS = {
    "dla": "direct logit attribution: activation times the effect of what the neuron writes on the target's logit",
    "dla_pre_ln2_post": "direct logit attribution without the norm after the MLP",
    "act_grad": "activation times gradient",
    "ig": "integrated gradients: the gradient averaged on the way from the reference to the activations",
    "relp": "relevance propagation",
    "prob_increase": "log-probability increase: what the neuron's write, added to the residual stream that enters "
    "its MLP, alone adds to the target's log probability",
    "prob_increase_query": "query neurons: what the neuron writes on the input directions of the neurons with the "
    "largest log-probability increases",
    "ablation": "the effect of ablating each neuron, measured",
}
"""The metrics of influence in words (docs/method.md)."""
_LONGEST = 160
_OPEN_CARDS = 3


_EXAMPLES = (
    "No ranking of neurons by an answer of the model was chosen, so these are examples. A neuron can be active in two "
    "directions, its two poles: L3N8+ is neuron 8 of layer 3 where its activation is large and positive, L3N8- where "
    "it is large and negative."
)


class Ranked(NamedTuple):
    """A neuron of the ranking; its row is that of its first place."""

    rank: int
    row: Row
    pole: str
    """`+` or `-`: to which side its activation is from the reference."""
    described: Description
    n_rows: int
    """Rows of the ranking among those looked at: one for each position."""


def neurons(run: ReportRun) -> Section:
    c = run.choice
    lead = join([
        "Each neuron's ", el("b", "influence"), " is how much of the target's logit is due to its activation being "
        "what it is and not its average (or another reference, named in the next section): positive pushes the "
        "answer up, negative down. A neuron can be active in two directions, its two ", el("b", "poles"),
        ": L3N8+ is neuron 8 of layer 3 where its activation is above, L3N8- where it is below.",
    ])  # fmt: skip
    body: list[Html] = []
    if c.problem:
        body.append(problem(c.problem))
    if c.ranked is None:
        if run.run.prompts and not c.problem:
            body.append(missing("No neurons were ranked. This command ranks them by their largest activation:",
                                run.command("poc2_analyze_run")))  # fmt: skip
        return Section("neurons", "Neurons", text(_EXAMPLES), [*body, *_gaps(run), *_examples(run)])
    asked, ranked_list = run.settings.top_k, c.ranked
    found = attempt(lambda: first_neurons(run, ranked_list, min(asked, run.detail.neurons)))
    if found.value is None:
        return Section("neurons", "The answer's neurons", lead, [problem(found.problem)])
    ranked = found.value
    body += [_what(run, c.ranked), _overview(run, c.ranked, ranked), *_gaps(run)]
    body += [_how_to_read(run), *_cards(run, ranked)]
    return Section("neurons", "The answer's neurons", lead, body, _short(run, ranked))


def _examples(run: ReportRun) -> list[Html]:
    """Cards of neurons that the records and the scores suggest."""
    read = attempt(lambda: examples(run, min(run.settings.top_k, run.detail.neurons)))
    if read.value is None:
        return [problem(read.problem)]
    if not read.value.poles:
        return []
    found = [
        Ranked(i, Row(i, NeuronAt(at.layer, at.neuron), at.pole, None, None, None, None, None, ""), at.pole,
               run.described.of(NeuronAt(at.layer, at.neuron), negative=at.pole == "-"), 1)
        for i, at in enumerate(read.value.poles, 1)
    ]  # fmt: skip
    return [p(f"Shown: {read.value.why}."), _how_to_read(run), *_cards(run, found)]


def _cards(run: ReportRun, found: Sequence[Ranked]) -> list[Html]:
    """The cards; those after the first few are folded. A link to a folded one opens it."""
    folded = [fold(join(_card_title(run, n)), card(run, n)) for n in found[_OPEN_CARDS:]]
    return [*(card(run, n) for n in found[:_OPEN_CARDS]), *folded]


def _card_title(run: ReportRun, n: Ranked) -> list[str | Html]:
    """What a folded card is about."""
    score = "" if n.row.score is None else f" · {_score_word(run)} {signed_text(n.row.score)}"
    said = _said(run, n)
    return [f"{n.rank}. ", el("b", f"{n.row.at.label}{n.pole}"), score, f" · {said}" if said else ""]


def first_neurons(run: ReportRun, ranked: RankedList, n: int) -> list[Ranked]:
    """The first `n` different neurons of a list. Those that the list names at several positions come once."""
    found: dict[tuple[int, int], Ranked] = {}
    for i in range(min(len(ranked), 20 * n)):
        at = int(ranked.layer[i]), int(ranked.neuron[i])
        if at in found:
            found[at] = found[at]._replace(n_rows=found[at].n_rows + 1)
        elif len(found) < n:
            row = ranked.row(i)
            if row.score is None:
                break
            pole = row.pole or ("-" if ranked.poles.negative[i] else "+")
            described = run.described.of(row.at, negative=pole == "-")
            found[at] = Ranked(i + 1, row, pole, described, 1)
    return list(found.values())


def _what(run: ReportRun, ranked: RankedList) -> Html:
    """Which ranking it is, how many neurons, and warnings."""
    c = run.choice
    where = ranked.place_text()
    rows = [join([el("b", "Ranking: "), brief(ranked.ref.title), f", {where}" if where else "", "."])]
    if c.record is not None and c.record.metric in METRICS:
        rows.append(join([f"{brief(c.record.metric)} is {METRICS[c.record.metric]}."]))
    if c.record is not None:
        share = share_text(c.record.selected_share)
        rows.append(join([
            f"{len(ranked):,} rows; the {c.record.n_selected:,} that were selected hold {share} of the sum of all "
            "|influences|."
        ]))  # fmt: skip
    else:
        rows.append(join(["It is not about one answer: no influence result was chosen."]))
    warnings = [note("warn", brief(w)) for w in ranked.warnings[:10]]
    return join([p(join(rows, " ")), *warnings])


def _how_to_read(run: ReportRun) -> Html:
    """The colours and the figures of the cards, once."""
    said = ["Green is a positive activation, orange a negative one, and a stronger colour a larger one. "]
    if run.records.value is not None:
        said.append("The strongest windows are those of the corpus in which the neuron is most active; the token at "
                    "the peak is underlined. ")  # fmt: skip
    if run.scores.value is not None:
        said.append("A score says how well the activations can be predicted from the words alone. Its figure has the "
                    "value as a dot with its 95 % interval, over the null in grey: what explanations of other neurons "
                    "score on this one. A dot within the grey says nothing.")  # fmt: skip
    return join([el("h3", "One card for each neuron"), p("".join(said))])


def _overview(run: ReportRun, ranked: RankedList, found: list[Ranked]) -> Html:
    largest = max((abs(n.row.score or 0.0) for n in found), default=0.0)
    total = run.choice.record.total_abs_influence if run.choice.record else 0.0
    columns = [Column("#"), Column("neuron", False), Column(_score_word(run)), Column("", False)]
    columns += [Column("share", help="Of the sum of all |influences|.")] if total else []
    same = bool(ranked.place_text())
    columns += [
        Column("activation"),
        *([] if same else [Column("at", False)]),
        Column("promotes", False),
        Column("explanation", False),
    ]
    scores = [_score(run, n) for n in found]
    scored = any(s is not None for s in scores)
    columns += [Column("its score"), Column("null", help="What explanations of other neurons score.")] if scored else []
    rows = []
    for n, own in zip(found, scores, strict=True):
        score = n.row.score or 0.0
        name = f"{n.row.at.label}{n.pole}"
        share = [share_text(abs(score) / total)] if total else []
        act = "" if n.row.act is None else signed_text(n.row.act)
        at = _place(n)
        rows.append([
            str(n.rank), el("a", name, href=f"#{n.row.at.label}", class_="nb"), signed_text(score), bar(score, largest),
            *share, act, *([] if same else [at]), chips((visible(t) for t in n.described.promotes[:3]), wrap=False),
            el("span", _said(run, n), class_="text"), *(_score_cells(own) if scored else []),
        ])  # fmt: skip
    return table(columns, rows)


def _place(n: Ranked) -> Html:
    """The token and the position of its row."""
    if not n.row.token:
        return Html("")
    pos = None if n.row.pos is None else f" {n.row.pos}"
    return el("span", token(visible(n.row.token)), pos, class_="nb")


def _score_word(run: ReportRun) -> str:
    return "influence" if run.choice.is_answer else "score"


def _first(run: ReportRun, n: Ranked) -> ExplanationView | None:
    """The explanation to read of the pole."""
    return to_read(run, n.row.at, "-" if n.pole == "-" else "+")


def _score(run: ReportRun, n: Ranked) -> ScoreRow | None:
    """The score of the explanation to read."""
    first = _first(run, n)
    if first is None:
        return None
    return headline_of(run, NeuronPole(first.entry.layer, first.entry.neuron, first.entry.pole), first.entry.id)


def _score_cells(score: ScoreRow | None) -> list[str]:
    return ["", ""] if score is None else [number(score.value), number(score.null_best)]


def _said(run: ReportRun, n: Ranked) -> str:
    """The explanation to read of the pole, cut."""
    first = _first(run, n)
    if first is None:
        return ""
    text = one_line(first.entry.text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _gaps(run: ReportRun) -> list[Html]:
    """What the cards lack, once for all."""
    found = []
    if run.records.problem:
        found.append(problem(run.records.problem))
    elif run.records.value is None:
        found.append(missing("Without records of a corpus, the cards have no examples. This command makes them:",
                             records_command(run.run.path)))  # fmt: skip
    found += [problem(line) for line in run.explanations.problems[:10]]
    if run.explanations.is_empty and not run.explanations.problems and run.records.value is not None:
        found.append(missing("No neuron is explained in words. This command writes look-up rules, without a language "
                             "model:", explain_command(run.run.path)))  # fmt: skip
    if run.described.written is None:
        found.append(missing("What the neurons write into the prediction is not known. This command computes it:",
                             run.command("poc2_analyze_run", "--mode", "write_scores")))  # fmt: skip
    return found


def _worth(score: ScoreRow | None) -> str:
    """How good an explanation is, in a sentence; empty if it was not scored."""
    if score is None:
        return ""
    known = score.ci_low is not None and score.ci_high is not None
    within = f"; 95 % interval {number(score.ci_low)} to {number(score.ci_high)}" if known else ""
    said = f", which scores {number(score.value)} ({score_name(score.score)}{within})"
    null = "" if score.null_best is None else f" where explanations of other neurons score {number(score.null_best)}"
    return said + null


def _short(run: ReportRun, ranked: list[Ranked]) -> list[Html]:
    c = run.choice
    if c.record is None or not ranked:
        return []
    first = ranked[0]
    said = _said(run, first)
    total = c.record.total_abs_influence
    share = f", {share_text(abs(first.row.score or 0.0) / total)} of the sum of all" if total else ""
    pushes = "" if (first.row.score or 0.0) >= 0 else ", against the answer"
    return [join([
        "By ", METRICS.get(c.record.metric, brief(c.record.metric)).partition(":")[0],
        f" ({brief(c.record.metric)}), the neuron with the largest influence is ",
        el("a", f"{first.row.at.label}{first.pole}", href=f"#{first.row.at.label}"),
        f" ({signed_text(first.row.score or 0.0)}{share}{pushes})",
        f", explained as “{said}”" if said else "", _worth(_score(run, first)), ".",
    ])]  # fmt: skip
