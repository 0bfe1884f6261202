"""Invented neurons with activations, which show a simulator what is asked of it. No model has them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Shown(NamedTuple):
    """An explanation, and a text with an activation from 0 to 9 at each token."""

    explanation: str
    tokens: tuple[str, ...]
    levels: tuple[int, ...]


def _shown(explanation: str, text: str) -> Shown:
    """From tokens with `|` between them; `=7` after a token is its activation, else it is 0."""
    pieces = [piece.partition("=") for piece in text.split("|")]
    return Shown(explanation, tuple(p[0] for p in pieces), tuple(int(p[2] or 0) for p in pieces))


SHOWN: Final = (
    _shown(
        "words for rain and snow",
        "The| match| began| late|,| since| it| had| rained=7| until| noon|.| More| rain=9| is| expected|,| and| sl=3"
        "|eet=6| in| the| hills|.",
    ),
    _shown(
        "the second of two names that are joined by \"and\"",
        "We| met| Tom| and| Ida=9| at| the| station|.| Bread| and| butter=1| were| on| the| table|;| Lee| and| Ron=8| "
        "came| later|.",
    ),
    _shown(
        "closing brackets in code",
        "for| (|x|,| y|)=8| in| pairs|:|⏎|   | return| area|(|x|)=6| *| rows|[|y|]=9| #| as| before",
    ),
)  # fmt: skip
ANSWERED: Final = ((0, 8), (0, 9), (1, 4), (2, 3))
"""Number of an example in `SHOWN`, and position in it: single questions with their answers."""
