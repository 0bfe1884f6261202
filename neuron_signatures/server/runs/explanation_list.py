"""Pages of the explanations of a run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from neuron_signatures.api.runs import ExplanationItem, ExplanationList
from neuron_signatures.runs.explanations.rows import NEURON, Search
from neuron_signatures.runs.explanations.shown import Row
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.server.problems import not_found
from neuron_signatures.server.runs.opened import OpenedRun
from neuron_signatures.server.runs.score_rows import score_facts


def list_explanations(
    opened: OpenedRun, *, words: str, set_name: str | None, layer: int | None, current: bool | None, offset: int,
    limit: int,
) -> ExplanationList:  # fmt: skip
    """The explanations with all words of `words`, of the set, layer and state if given; only a page of them has scores.

    Raises `BadRunError` for a damaged log, and `ProblemError` 404 for a set that the run does not have.
    """
    explanations = opened.explanations
    if set_name is not None and set_name not in explanations.set_names:
        there = ", ".join(explanations.set_names[:10]) or "none"
        raise not_found(f"no set of explanations {set_name[:100]!r}; there are: {there}")
    rows = _rows(opened, words, set_name, layer, current)
    page = rows[offset : offset + limit]
    ids, neurons = {r.id for r in page}, list(dict.fromkeys((r.at.layer, r.at.neuron) for r in page))
    scores = opened.scores.first_scores(ids, neurons)
    items = [_item(r, scores.get(r.id, ())) for r in page]
    return ExplanationList(total=len(rows), offset=offset, explanations=items)


def _rows(
    opened: OpenedRun, words: str, set_name: str | None, layer: int | None, current: bool | None
) -> Sequence[Row]:
    """As `Explanations.search`, and of a layer, but fast for 240,000 rows: they are sorted by layer, and most are
    sorted out by their folded texts."""
    rows: Sequence[Row] = opened.explanations.rows()
    start, stop = 0, len(rows)
    if layer is not None:
        start, stop = (bisect(rows, layer, key=lambda r: r.at.layer) for bisect in (bisect_left, bisect_right))
        rows = rows[start:stop]
    names = [word for word in words.split() if NEURON.fullmatch(word)]
    if plain := [word.casefold() for word in words.split() if word not in names]:
        texts, found = opened.folded_texts[start:stop], list(range(len(rows)))
        for word in plain:
            found = [i for i in found if word in texts[i]]
        rows = [rows[i] for i in found]
    if opened.explanations.set_names == (set_name,):
        set_name = None
    if names or set_name is not None or current is not None:
        rows = Search(" ".join(names), set=set_name, current=current).rows(rows)
    return rows


def _item(r: Row, scores: Sequence[ScoreRow]) -> ExplanationItem:
    return ExplanationItem(
        layer=r.at.layer, neuron=r.at.neuron, pole=r.at.pole, set=r.set, id=r.id, text=encodable(r.text),
        explainer=r.explainer, status=r.status, current=r.current,
        author="model" if r.author == "model" else r.author_name or "human", up=r.up, down=r.down,
        scores=tuple(map(score_facts, scores)),
    )  # fmt: skip
