"""Invented neurons, which show a language model what a good answer is like. No model has them."""

from __future__ import annotations

import numpy as np

from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.neuron import TokenRow, TokenTable
from neuron_signatures.explain.evidence.output import MeasuredChange, Writes
from neuron_signatures.views.neurons.writes import Written


def excerpts(*texts: str) -> list[Excerpt]:
    """Excerpts from tokens with `|` between them; `=7` after a token is its level."""
    return [_excerpt(text) for text in texts]


def _excerpt(text: str) -> Excerpt:
    tokens, levels = [], []
    for piece in text.split("|"):
        token, _, level = piece.partition("=")
        tokens.append(token)
        levels.append(float(level or 0))
    acts = np.array(levels, np.float32)
    return Excerpt(0, 0, tuple(tokens), acts, np.ones(len(tokens), bool), int(acts.argmax()))


def invented_writes(promotes: str, suppresses: str) -> Writes:
    """From tokens with `|` between them, the strongest first."""
    up, down = (
        tuple(Written(token, 0, largest - 0.7 * i) for i, token in enumerate(side.split("|")))
        for side, largest in ((promotes, 10.0), (suppresses, 4.0))
    )
    return Writes(up, down)


WEIGHTS = "units of weight after a quantity"
WEIGHT_TEXTS = excerpts(
    "The| sack| held| twelve| pounds=10| of| flour| and| a| jar| of| honey|.",
    " lifted| 80| kil=4|ograms=9| before| lunch|,| then| rested|.",
    " Add| two| ounces=8| of| butter|,| then| stir| for| ten| minutes|.",
)
WEIGHT_MIDDLING = excerpts(
    " The| crate| weighed| half| a| ton=5|,| so| we| left| it|.",
    " Each| bag| is| sold| by| weight=2|,| not| by| number|.",
)
NOT_WEIGHTS = excerpts(
    " He| paid| forty| pounds=0.1| for| the| coat| and| left|.",
    " It| took| twelve| minutes| to| fill| the| bath|.",
    " She| pounds=0.1| the| drum| until| the| neighbours| wake|.",
)
WEIGHT_TABLE = TokenTable(
    (TokenRow(" kilograms", 6.1, 14), TokenRow(" pounds", 4.9, 22), TokenRow(" ounces", 4.4, 9),
     TokenRow("kg", 4.1, 31), TokenRow(" tons", 3.6, 6), TokenRow(" weighs", 1.1, 12)), 0.05, 20000,
)  # fmt: skip

BANS = "negations in rules that forbid something"
BAN_TEXTS = excerpts(
    "Visitors| must| not=10| feed| the| animals|.| Dogs| are| welcome|.",
    " The| keys| may| never=9| be| copied| without| a| permit|.",
    "No=6| smoking| in| the| corridor|,| please|.",
)
BAN_MIDDLING = excerpts(
    " You| should| not=4| swim| right| after| a| meal|.",
    " Parking| is| only=2| for| residents| of| the| street|.",
)
NOT_BANS = excerpts(
    " I| do| not=0.1| remember| where| we| met|.",
    " There| was| no| wind| that| morning|,| and| nobody| spoke|.",
    " Visitors| are| asked| to| feed| the| animals| at| noon|.",
)

BOATS = "parts of a boat"
BOAT_WRITES = invented_writes(" hull| keel| mast| rudder|deck", " January| oclock| cinema")
BOAT_CHANGES = [MeasuredChange("We began with the", " mast", 0.5, 6.0, 1.9, 0.21, 0.002)]
REPAIRS = "verbs for repairing something"
REPAIR_TEXTS = excerpts(
    "They| spent| all| of| June| mending=10| what| was| left|.",
    " The| roof| was| repaired=8| before| it| rained|.",
    " She| hopes| to| restore=7| the| old| clock|.",
)

ANSWERS = frozenset((WEIGHTS, BANS, BOATS, REPAIRS))
"""A model that gives one of these repeats an example."""
