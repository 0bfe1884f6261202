"""Searching the full-text index, and choosing the best rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.search.database import AGAIN, contents
from neuron_signatures.runs.search.hits import Found, Hit, Scope
from neuron_signatures.runs.search.names import Kind
from neuron_signatures.runs.search.query import Place, Term, WordQuery
from neuron_signatures.runs.search.rows import OWN, Rows
from neuron_signatures.runs.search.texts import Texts
from neuron_signatures.runs.search.words import folded, word_key

MOST_SCORED: Final = 10_000
"""Texts that are scored for one query. Of words in more texts, these are a random sample: ids are in random order."""

MOST_CONTINUED: Final = 1000
"""Words with one beginning that are looked for at the peaks of exemplars."""


Masks = Mapping[Kind, Bool[np.ndarray, " row"]]
Tiers = Mapping[Kind, Int64[np.ndarray, " row"]]


class Matches(NamedTuple):
    """Ids of texts, and their BM25: larger is better."""

    ids: Int64[np.ndarray, " text"]
    scores: Float64[np.ndarray, " text"]
    is_sample: bool
    """Whether there are more."""


class Chosen(NamedTuple):
    """A row, by its kind and number."""

    kind: Kind
    row: int
    score: float


def search_words(texts: Texts, query: WordQuery, scope: Scope) -> Found:
    """As `Search.by_words`, of a parsed query."""
    every = _match(texts, query.terms, every=True)
    masks = allowed(texts, scope, query)
    score = np.full(texts.n_texts, -np.inf)
    score[every.ids] = every.scores
    lacks = np.zeros(texts.n_texts, np.int64)  # 2 for texts without some of the words
    notes = list(texts.notes)
    if every.is_sample:
        words = "these words" if len(query.terms) > 1 else "this word"
        notes.append(f"more than {MOST_SCORED:,} texts have {words}: the best of a random {MOST_SCORED:,} are shown")
    elif len(query.terms) > 1 and (n := _n_rows(texts, masks, score)) < scope.k:
        rare = _rare_terms(texts, query.terms)
        some = _match(texts, rare, every=False) if rare else every
        new = score[some.ids] == -np.inf
        score[some.ids[new]], lacks[some.ids[new]] = some.scores[new], 2
        if _n_rows(texts, masks, score) > n:
            notes.append(f"{n or 'no'} hit{' has' if n == 1 else 's have'} every word; the others have some of them")
    keys = np.array([word_key(word) for term in query.terms for word in _words_of(texts, term)], np.uint32)
    tiers: dict[Kind, np.ndarray] = {}
    for kind in masks:
        columns = texts.rows[kind].columns
        tiers[kind] = lacks[columns["text"]]
        if kind == "exemplar":  # those whose peak is elsewhere in the window come later
            tiers[kind] = tiers[kind] + ~np.isin(columns["word"], keys)
    has_score = {kind: mask & (score[texts.rows[kind].columns["text"]] > -np.inf) for kind, mask in masks.items()}
    return Found(hits_of(texts, best(texts, has_score, score, scope, tiers)), tuple(notes))


def _words_of(texts: Texts, term: Term) -> list[str]:
    """The words of a term, and those of the texts that begin with its last one, at most `MOST_CONTINUED`."""
    if not term.is_prefix:
        return list(term.words)
    start = folded(term.words[-1])
    sql = "SELECT term FROM temp.vocabulary WHERE term >= ? AND term < ? LIMIT ?"
    texts.conn.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, words, row)")
    found = texts.conn.execute(sql, (start, start + "\U0010ffff", MOST_CONTINUED)).fetchall()
    return [*term.whole, *(str(row[0]) for row in found)]


def _match(texts: Texts, terms: Sequence[Term], *, every: bool) -> Matches:
    """Texts with every term, or with some of them."""
    expression = (" AND " if every else " OR ").join(term.match() for term in terms)
    sql = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? LIMIT ?"
    found = texts.conn.execute(sql, (expression, MOST_SCORED + 1)).fetchall()
    array = np.array(found[:MOST_SCORED], np.float64).reshape(-1, 2)
    ids = array[:, 0].astype(np.int64)
    if ((ids < 0) | (ids >= texts.n_texts)).any():
        raise BadRunError("names a text that there is not", where=str(texts.path), next_step=AGAIN)
    return Matches(ids, array[:, 1], len(found) > MOST_SCORED)


def _rare_terms(texts: Texts, terms: Sequence[Term]) -> list[Term]:
    """The terms that are in some texts, but in no more than are scored."""
    sql = "SELECT count(*) FROM (SELECT rowid FROM words WHERE words MATCH ? LIMIT ?)"
    counts = [int(texts.conn.execute(sql, (term.match(), MOST_SCORED + 1)).fetchone()[0]) for term in terms]
    return [term for term, n in zip(terms, counts, strict=True) if 0 < n <= MOST_SCORED]


def _n_rows(texts: Texts, masks: Masks, score: np.ndarray) -> int:
    return sum(int((mask & (score[texts.rows[k].columns["text"]] > -np.inf)).sum()) for k, mask in masks.items())


def allowed(texts: Texts, scope: Scope, query: WordQuery | None = None) -> Masks:
    """The rows that a search may find, by kind."""
    found = {}
    for kind in scope.kinds:
        rows = texts.rows[kind]
        mask = np.ones(rows.n, bool)
        if scope.layers is not None:
            mask &= np.isin(rows.columns["layer"], np.array(scope.layers, np.int64))
        if query is not None and query.places:
            mask &= np.logical_or.reduce([_is_at(rows, place) for place in query.places])
        if query is not None and query.sets:
            mask &= _is_of(texts, rows, query.sets)
        found[kind] = mask
    return found


def best(
    texts: Texts, masks: Masks, scores: Float[np.ndarray, " text"], scope: Scope, tiers: Tiers | None = None
) -> list[Chosen]:
    """The rows of the masks whose texts have the largest scores, ties by layer, neuron and pole; -inf is no hit.

    At most `scope.k`, and `scope.per_text` of one text. Rows of a lower tier come first.
    """
    found: list[Chosen] = []
    n_of = Counter[int]()
    for tier in _tiers_of(masks, tiers):
        members = {kind: mask & (tiers[kind] == tier) if tiers else mask for kind, mask in masks.items()}
        for chosen, text in _ordered(texts, members, scores, scope.k):
            if len(found) < scope.k and n_of[text] < scope.per_text:
                n_of[text] += 1
                found.append(chosen)
        if len(found) == scope.k:
            break
    return found


def _tiers_of(masks: Masks, tiers: Tiers | None) -> list[int]:
    return (
        [0] if tiers is None else sorted({t for k, mask in masks.items() for t in np.unique(tiers[k][mask]).tolist()})
    )


def _ordered(texts: Texts, masks: Masks, scores: Float[np.ndarray, " text"], k: int) -> Iterator[tuple[Chosen, int]]:
    """The rows of the masks of at least the k best texts, best first, each with the id of its text."""
    has_row = np.zeros(texts.n_texts, bool)
    for kind, mask in masks.items():
        has_row[texts.rows[kind].columns["text"][mask]] = True
    of_text = np.where(has_row, scores, -np.inf)
    limit = np.partition(of_text, -k)[-k] if k < len(of_text) else -np.inf
    wanted = (of_text >= limit) & (of_text > -np.inf)
    rows = {kind: np.flatnonzero(mask & wanted[texts.rows[kind].columns["text"]]) for kind, mask in masks.items()}
    kinds = list(rows)
    own = np.concatenate([rows[kind] for kind in kinds])
    which = np.repeat(np.arange(len(kinds)), [len(rows[kind]) for kind in kinds])
    order = np.concatenate([texts.rows[kind].order(rows[kind]) for kind in kinds])
    ids = np.concatenate([texts.rows[kind].columns["text"][rows[kind]] for kind in kinds])
    score = of_text[ids]
    for i in np.lexsort((order, -score)).tolist():
        yield Chosen(kinds[which[i]], int(own[i]), float(score[i])), int(ids[i])


def hits_of(texts: Texts, chosen: Sequence[Chosen]) -> tuple[Hit, ...]:
    """The chosen rows with their texts."""
    ids = [int(texts.rows[c.kind].columns["text"][c.row]) for c in chosen]
    found = contents(texts.conn, ids, texts.path)
    return tuple(_hit(texts, c, found[id_]) for c, id_ in zip(chosen, ids, strict=True))


def _hit(texts: Texts, chosen: Chosen, text: str) -> Hit:
    rows, row = texts.rows[chosen.kind], chosen.row
    own = {name: rows.columns[name][row] for name in OWN[chosen.kind]}
    if chosen.kind == "explanation":
        set_name, explainer = texts.sets[int(own["set"])], texts.explainers[int(own["explainer"])]
        return Hit(rows.at(row), "explanation", text, chosen.score, set_name, f"{int(own['id']):016x}", explainer)
    peak = (min(int(own["start"]), len(text)), min(int(own["stop"]), len(text)))
    return Hit(
        rows.at(row), "exemplar", text, chosen.score, rank=int(own["rank"]), window=int(own["window"]), peak=peak,
        value=float(own["value"]),
    )  # fmt: skip


def _is_at(rows: Rows, place: Place) -> Bool[np.ndarray, " row"]:
    c = rows.columns
    mask: np.ndarray = c["layer"] == place.layer
    if place.neuron is not None:
        mask = mask & (c["neuron"] == place.neuron)
    return mask if place.pole is None else mask & (c["pole"] == POLES.index(place.pole))


def _is_of(texts: Texts, rows: Rows, sets: Sequence[str]) -> Bool[np.ndarray, " row"]:
    if rows.kind == "exemplar":
        return np.zeros(rows.n, bool)
    wanted = [place for place, name in enumerate(texts.sets) if name.casefold() in sets]
    return np.isin(rows.columns["set"], np.array(wanted, np.int64))
