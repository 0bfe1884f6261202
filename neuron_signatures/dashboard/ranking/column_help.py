"""What the columns of the Ranking view's table mean, for the reader who hovers them: text of our own."""

from __future__ import annotations

from neuron_signatures.views.ranked import Kind, RankedList

_SCORE_HELP: dict[Kind, str] = {
    "influence": "The neuron's part in the function in brackets, by the metric of this list, in that function's unit: "
    "logits, or nats of logprob (dla_pre_ln2_post has no unit). Below 0 it works against it.",
    "peaks": "Mean over the prompts of the largest |act|, in the model's units.",
    "signatures": "Of this pole over the prompts, in the model's units; the negative pole's sign is turned.",
}
_ACT_HELP: dict[Kind, str] = {
    "influence": "Of the neuron at the position that was scored, in the model's units.",
    "peaks": "The largest or the smallest over the run, whichever is farther from 0, in the model's units.",
    "signatures": "",
}
_SCORED = {"token": "The token at the position that was scored.", "position": "The position that was scored, from 0."}
_PEAK = {"prompt": "Where the activation is.", "position": "In that prompt, counted from 0.",
         "token": "The token there.", "note": "The token that its peaks are on most often."}  # fmt: skip
_WHERE_HELP: dict[Kind, dict[str, str]] = {
    "influence": _SCORED,
    "peaks": _PEAK,
    "signatures": {"token": "The token that the pole's peaks are on most often.", "note": "Class and name."},
}
_COLUMN_HELP = {
    "rank": "In the list's own order: the largest |score| first, whatever the filters; none without a score.",
    "neuron": "A click on the row opens it.",
    "pole": "+ for what excites the neuron, - for what drives it below zero.",
    "prompt": "The prompt that was scored.",
}


def rank_help(ranked: RankedList) -> dict[str, str]:
    """By the name of the column, as this list has it."""
    kind = ranked.ref.kind
    return {ranked.score_name: _SCORE_HELP[kind], "activation": _ACT_HELP[kind], **_COLUMN_HELP, **_WHERE_HELP[kind]}
