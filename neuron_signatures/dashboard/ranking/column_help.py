"""Help texts for the columns of the Ranking table."""

from __future__ import annotations

from neuron_signatures.views.ranked import Kind, RankedList

_SCORE_HELP: dict[Kind, str] = {
    "influence": "The neuron's influence on the function in brackets, by this list's metric, in the function's unit: "
    "logits, or nats of logprob (dla_pre_ln2_post has no unit). Negative values decrease it.",
    "peaks": "Mean over the prompts of the largest |act|.",
    "signatures": "Largest peak of this pole over the prompts; the sign of the negative pole is reversed.",
}
_ACT_HELP: dict[Kind, str] = {
    "influence": "Activation of the neuron at the scored position.",
    "peaks": "The largest or smallest activation over the run, whichever has the larger magnitude.",
    "signatures": "",
}
_SCORED = {"token": "The token at the scored position.", "position": "The scored position, from 0."}
_PEAK = {"prompt": "The prompt of the activation.", "position": "Position in that prompt, from 0.",
         "token": "The token at that position.", "note": "The most frequent peak token."}  # fmt: skip
_WHERE_HELP: dict[Kind, dict[str, str]] = {
    "influence": _SCORED,
    "peaks": _PEAK,
    "signatures": {"token": "The most frequent peak token of the pole.", "note": "Class and name."},
}
_COLUMN_HELP = {
    "rank": "Rank by |score| in the whole list, regardless of filters; empty if the score is undefined.",
    "neuron": "Click the row to open it.",
    "pole": "+ for positive activations, - for negative ones.",
    "prompt": "The scored prompt.",
}


def rank_help(ranked: RankedList) -> dict[str, str]:
    """Help texts by column name for this list."""
    kind = ranked.ref.kind
    return {ranked.score_name: _SCORE_HELP[kind], "activation": _ACT_HELP[kind], **_COLUMN_HELP, **_WHERE_HELP[kind]}
