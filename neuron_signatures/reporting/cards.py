"""The card of one neuron: what it writes, its activations on the prompt, its strongest windows, its explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.reporting.heat import colour_key, passage, prompt_heat
from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import chips, facts, fold, p, problem
from neuron_signatures.reporting.said import pole_explanations
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.acts import counted
from neuron_signatures.views.at_large.neuron import read_at_large
from neuron_signatures.views.at_large.texts import (
    cluster_words,
    group_words,
    meaning_sentence,
    neighbours_words,
    similar_words,
    weights_sentence,
)
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.sheets import signed_text
from neuron_signatures.views.records.evidence import Evidence, PoleEvidence, evidence
from neuron_signatures.views.scale import NEURON_PERCENTILE, limit_of, spread_of

if TYPE_CHECKING:
    from neuron_signatures.reporting.sections.neurons import Ranked

_MOST_PROMPTS = 300
"""Prompts up to which the scale of colours is that of the whole run."""
_N_TOKENS = 8
_N_LIKE = 4
"""Similar neurons, clusters and groups of a card."""


def card(run: ReportRun, n: Ranked) -> Html:
    at = n.row.at
    pole: Pole = "-" if n.pole == "-" else "+"
    other: Pole = "+" if pole == "-" else "-"
    head = el("h3", el("span", f"{n.rank}", class_="num"), f"{at.label}{_sign(pole)}")
    more = pole_explanations(run, at, other)
    found = _corpus(run, at)
    parts = [head, _line(run, n), _writes(n), _on_prompt(run, n), found[0], _windows(run, found[1], pole),
             el("h4", f"What {at.label}{_sign(pole)} responds to, in words"),
             pole_explanations(run, at, pole) or p("No explanation of this pole.", class_="small")]  # fmt: skip
    parts.append(_at_large(run, at))
    opposite = [_windows(run, found[1], other), more]
    if any(opposite):
        parts.append(fold(f"The other pole, {at.label}{_sign(other)}", *opposite))
    return el("article", *parts, class_="card", id=at.label)


def _sign(pole: str) -> str:
    return str(pole)


def _line(run: ReportRun, n: Ranked) -> Html:
    """Its numbers in the ranking."""
    row = n.row
    word = "influence" if run.choice.is_answer else "score"
    parts = [] if row.score is None else [f"{word} {signed_text(row.score)}"]
    if row.act is not None:
        where = "" if row.token is None else f" at {visible(row.token)}"
        parts.append(f"activation {signed_text(row.act)}{where}" + ("" if row.pos is None else f", position {row.pos}"))
    if n.n_rows > 1:
        parts.append(f"among the first rows at {n.n_rows} positions")
    if n.described.fires:
        parts.append(f"signature: {brief(n.described.fires)}")
    return p(" · ".join(parts), class_="small") if parts else NOTHING


def _writes(n: Ranked) -> Html:
    """The tokens whose logits it raises and lowers with the sign of its activation here."""
    d = n.described
    if not d.promotes and not d.suppresses:
        return NOTHING
    pairs = [("promotes", d.promotes), ("suppresses", d.suppresses)]
    return facts((label, chips(visible(t) for t in tokens[:_N_TOKENS])) for label, tokens in pairs if tokens)


def _on_prompt(run: ReportRun, n: Ranked) -> Html:
    """Its activations over the tokens of the prompt."""
    prompt, at = run.choice.prompt, n.row.at
    if prompt is None or not run.run.prompts:
        return NOTHING
    title = el("h4", "Its activation at each token of the prompt")
    if not run.run.stores(*at):
        return join([title, p("This run does not store the activations of this layer.", class_="small")])
    read = attempt(lambda: run.run.acts(prompt, layer=at.layer, neuron=at.neuron))
    if read.value is None:
        return join([title, problem(read.problem)])
    full, what = _full_scale(run, at, read.value)
    marked = [] if n.row.pos is None else [n.row.pos]
    heat = prompt_heat(prompt.tokens, read.value, full, marked=marked, most=run.detail.prompt_tokens)
    always = _always_on(run, at)
    return join([title, heat, colour_key(full, what), p(always, class_="small") if always else None])


def _every_value(run: ReportRun, at: NeuronAt) -> np.ndarray | None:
    """Its included activations over the run; None for a large run, or one with damaged files."""
    if len(run.run.prompts) > _MOST_PROMPTS:
        return None
    read = attempt(lambda: [
        run.run.acts(q, layer=at.layer, neuron=at.neuron)[counted(run.run, q, include_bos=False)]
        for q in run.run.prompts
    ])  # fmt: skip
    return None if not read.value else np.concatenate(read.value)


def _full_scale(run: ReportRun, at: NeuronAt, own: np.ndarray) -> tuple[float, str]:
    every = _every_value(run, at)
    if every is None:
        return limit_of(own[1:] if len(own) > 1 else own, 100.0).value, "full colour: the largest |activation| here"
    full = limit_of(every, NEURON_PERCENTILE).value
    return full, f"full colour: {NEURON_PERCENTILE}th percentile of its |activation| over all prompts of the run"


def _always_on(run: ReportRun, at: NeuronAt) -> str:
    every = _every_value(run, at)
    spread = None if every is None else spread_of(every)
    said = "" if spread is None else spread.always_on_text()
    return f"{at.label} is {said}." if said else ""


def _at_large(run: ReportRun, at: NeuronAt) -> Html:
    """Weight class, neurons like it, clusters and meanings; nothing without these results."""
    known = read_at_large(run.run.path, at)
    if known.is_empty and not known.problems:
        return NOTHING
    rows = [("weights", "" if known.weights is None else weights_sentence(known.weights)),
            ("activation like", similar_words(known.similar, "activation", "", _N_LIKE)),
            ("output weights like", neighbours_words(known.neighbours, "output", _N_LIKE)),
            *(("cluster", f"{brief(m.clustering)}: {cluster_words(m)}") for m in known.clusters[:_N_LIKE]),
            *((f"meanings at {m.pole}", meaning_sentence(m)) for m in known.meanings)]  # fmt: skip
    groups = [p(f"At {m.pole}: " + "; ".join(group_words(g) for g in m.groups[:_N_LIKE]), class_="small")
              for m in known.meanings if len(m.groups) > 1]  # fmt: skip
    return join([el("h4", f"{at.label} at large"), facts(rows), *groups, *map(problem, known.problems)])


def _corpus(run: ReportRun, at: NeuronAt) -> tuple[Html, Evidence | None]:
    """What the records say of it in a line, and the evidence; nothing without records."""
    records = run.records.value
    if records is None or not records.holds(*at):
        return NOTHING, None
    read = attempt(lambda: evidence(records, at))
    if read.value is None:
        return problem(read.problem), None
    return (p(read.value.state_text) if read.value.state_text else NOTHING), read.value


def _windows(run: ReportRun, found: Evidence | None, pole: Pole) -> Html:
    """The strongest windows of a pole."""
    if found is None or not run.detail.windows:
        return NOTHING
    own = found.pole(pole)
    title = el("h4", f"Where {found.at.label}{_sign(pole)} is strongest in the corpus")
    if not own.strongest or not own.has_sign:
        return join([title, p("No activation of the corpus has this sign.", class_="small")])
    full = found.limit().value
    shown = [passage(w, full) for w in own.strongest[: run.detail.windows]]
    return join([title, p(_often(own, run.records.value), class_="small"), *shown])


def _often(own: PoleEvidence, records: Records | None) -> str:
    often = own.often.text_with_share()
    stored = all(w.is_stored for w in own.strongest)
    parts = [f"Most often at {often}" if often else "", "" if stored else "only the activation at the peak is stored"]
    return "; ".join(filter(None, parts)) or f"{own.n_windows} windows"
