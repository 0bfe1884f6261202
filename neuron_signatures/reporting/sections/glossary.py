"""The words of the report."""

from __future__ import annotations

from neuron_signatures.reporting.html import el, text
from neuron_signatures.reporting.opened import ReportRun
from neuron_signatures.reporting.section import Section

WORDS = (
    ("ablate", "Set a neuron's activation to a reference value, usually its average, and run the model again."),
    ("activation", "The number that a neuron has at a token: the hidden value of the MLP after its non-linearity."),
    ("auPRC", "Area under the precision-recall curve; a prediction without information gives the share of active "
     "positions."),
    ("cell", "One neuron at one position of a prompt; an intervention sets the activations of cells."),
    ("CMD", "Area between a ranking's faithfulness curve and 1. Smaller is better."),
    ("control", "The same measurement where the claim cannot hold: random neurons, shuffled words, another neuron."),
    ("coverage", "Share of the requests to a language model that gave a usable answer. The others count as nothing, "
     "not as zeros."),
    ("exemplar", "A window of the corpus in which a neuron is strongest."),
    ("foil", "The token that the target is compared with."),
    ("influence", "How much of the target's logit a ranking attributes to a neuron."),
    ("interval", "A 95 % interval: repeated on other samples, 95 of 100 such intervals hold the true value."),
    ("lift", "A score minus the mean of its null."),
    ("logit", "The unnormalised log probability of a token; one more logit is 2.7 times the odds."),
    ("look-up rule", "An explanation without a language model: the tokens and n-grams at which the neuron is active."),
    ("neuron", "One hidden unit of an MLP block. L4N178 is number 178 of layer 4; both count from 0."),
    ("null", "What chance gives: scores of other neurons' explanations, or effects of random edits. A value within "
     "its null says nothing."),
    ("p", "Share of a null that is at least as large as the observed value; at least one draw is counted."),
    ("pole", "One of the two directions of a neuron: + above its reference, - below."),
    ("records", "What every neuron does on a corpus. Explanations are written from one part of the documents and "
     "scored on another."),
    ("simulate", "Predict a neuron's activation at each token from its explanation alone. The score says how well the "
     "prediction fits."),
    ("target", "The token whose prediction is explained."),
    ("token", "A piece of text that the model reads and predicts. A middle dot marks a space, ⏎ a line break."),
)  # fmt: skip


def glossary(_: ReportRun) -> Section:
    words = el("dl", *(el("div", el("dt", word), el("dd", meaning)) for word, meaning in WORDS), class_="glossary")
    return Section("glossary", "Words", text("The terms of this report in one line each."), [words])
