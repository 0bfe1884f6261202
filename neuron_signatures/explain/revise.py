"""Asks for a better explanation: the current one, and the texts for which it predicts worst.

These texts are of the part `select`, so that neither the explainer's own evidence nor the texts of reported scores are
used; a few of the strongest windows of `explain` are shown again, so that a revision does not forget them.
"""

from __future__ import annotations

from neuron_signatures.explain.evidence.excerpts import Excerpt, cut, largest_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.answers import FIRES_ON, SAYS
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import PHRASE, Instructions, marked, pinned
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.fencing import fenced, heading
from neuron_signatures.runs.explanations.names import Explainer
from neuron_signatures.scoring.mistakes import Mistake, Mistakes

N_STRONGEST = 5
"""Of the part `explain`."""


def revision_prompt(
    explainer: Explainer, evidence: NeuronEvidence, text: str, mistakes: Mistakes
) -> Prompt | TooLittle:
    """The prompt that asks for a revision of `text`, whose answer is read as the explainer's own answers are.

    Its `evidence` are windows of both parts. `TooLittle` without a mistake, and for `output`, which says nothing about
    activations.
    """
    if explainer == "output":
        return TooLittle("an explanation of the output predicts no activations, so it has no mistakes to learn from")
    if not mistakes.false_positives and not mistakes.false_negatives:
        return TooLittle("the explanation has no false positives or negatives among the texts of the part select")
    groups = [
        evidence.strongest[:N_STRONGEST],
        [_excerpt(m, evidence) for m in mistakes.false_positives],
        [_excerpt(m, evidence) for m in mistakes.false_negatives],
    ]
    instructions = BOTH if explainer == "both" else INSTRUCTIONS
    return fitted(instructions, groups, lambda kept: sections(text, kept), evidence.settings)


def sections(text: str, groups: Groups) -> list[str]:
    strongest, wrong, missed = groups
    lines = [heading("current explanation"), fenced(text)]
    if strongest:
        lines += [heading("strongest activations"), *marked(strongest, largest_of(strongest))]
    for name, group in (("predicted, but not active", wrong), ("active, but not predicted", missed)):
        if group:
            lines += [heading(name), *pinned(group)]
    return lines


def _excerpt(mistake: Mistake, evidence: NeuronEvidence) -> Excerpt:
    return cut(mistake.text, mistake.pos, before=evidence.settings.before, after=evidence.settings.after)


_TASK = (
    "You study one neuron of a language model, and improve an explanation of what it is active on. You are given the "
    "current explanation, excerpts in which the neuron is strongest (at the tokens between « and »), and excerpts in "
    "which the explanation is wrong at the token between « and »: where it suggests activity but the neuron is not "
    "active, and where the neuron is active but the explanation does not suggest it. A list can be missing. An "
    "activation depends on the token and on the tokens before it, never on later ones. Find an explanation that is "
    "narrower where the current one suggests too much and wider where it misses something."
)
_EXAMPLE = (
    invented.WEIGHT_TEXTS[:1],
    invented.excerpts("It| took| twelve| minutes=1| to| fill| the| bath|.", "The| rope| is| nine| metres=1| long|."),
    invented.excerpts(" Her| suitcase| was| 23| kg=1|,| one| too| many|."),
)
_OLD = "units of measurement"

INSTRUCTIONS = Instructions(
    "revise-1",
    f"{_TASK}\n\n{PHRASE}",
    ((sections(_OLD, _EXAMPLE), invented.WEIGHTS),),
    question="What is the neuron active on? Answer with one short phrase, the improved explanation.",
)
BOTH = Instructions(
    "revise_both-1",
    f"{_TASK} The current explanation has a second part, on what the neuron makes the model say: keep it.\n\n"
    f"Answer with two lines and nothing else, each with one short phrase of at most 20 words:\n{FIRES_ON}: ...\n"
    f"{SAYS}: ...\nGive no list of words, no quotation and no comment.",
    (
        (
            sections(f"{FIRES_ON} {_OLD}; {SAYS} full stops and commas", _EXAMPLE),
            f"{FIRES_ON}: {invented.WEIGHTS}\n{SAYS}: full stops and commas",
        ),
    ),
    question="What is the improved explanation? Answer with the two lines.",
    max_tokens=160,
)
