"""Searching the full-text index, and choosing the best rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.search.database import AGAIN, contents
from neuron_signatures.runs.search.hits import Found, Hit, Scope
from neuron_signatures.runs.search.names import Kind
from neuron_signatures.runs.search.query import Place, Term, WordQuery
from neuron_signatures.runs.search.rows import OWN, Columns
from neuron_signatures.runs.search.texts import Texts
from neuron_signatures.runs.search.words import folded, word_key

MOST_SCORED: Final = 10_000
"""Texts that are scored for one query. Of words in more texts, these are a random sample: ids are in random order."""

MOST_CONTINUED: Final = 1000
"""Words with one beginning that are looked for at the peaks of exemplars."""


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
    keys = np.array([word_key(word) for term in query.terms for word in _words_of(texts, term)], np.int64)
    best, notes = _Best(texts, scope, query), list(texts.notes)
    best.add_matches(every, np.unique(keys))
    if every.is_sample:
        words = "these words" if len(query.terms) > 1 else "this word"
        notes.append(f"more than {MOST_SCORED:,} texts have {words}: the best of a random {MOST_SCORED:,} are shown")
    elif len(query.terms) > 1 and not best.is_full and (rare := _rare_terms(texts, query.terms)):
        n, some = len(best.found), _match(texts, rare, every=False)
        new = ~np.isin(some.ids, every.ids)
        best.add_matches(Matches(some.ids[new], some.scores[new], some.is_sample), np.unique(keys))
        if len(best.found) > n:
            notes.append(f"{n or 'no'} hit{' has' if n == 1 else 's have'} every word; the others have some of them")
    return Found(hits_of(texts, best.found), tuple(notes))


def search_scores(texts: Texts, scores: Float[np.ndarray, " text"], scope: Scope) -> Found:
    """The rows whose texts have the largest scores, of the texts 0, 1, ... that have one."""
    best = _Best(texts, scope, None)
    above, n = np.inf, 4 * scope.k
    while not best.is_full and above > -np.inf:
        limit = float(np.partition(scores, -n)[-n]) if n < len(scores) else -np.inf
        ids = np.flatnonzero((scores >= limit) & (scores < above))
        best.add_texts(ids, scores[ids], scope.kinds)
        above, n = limit, 8 * n  # a scope of few layers can need many texts
    return Found(hits_of(texts, best.found), texts.notes)


class _Best:
    """The best rows so far, at most `k`, and `per_text` of one text. What is added later comes later."""

    def __init__(self, texts: Texts, scope: Scope, query: WordQuery | None) -> None:
        self.found: list[Chosen] = []
        self._texts, self._scope, self._query = texts, scope, query
        self._n_of = Counter[int]()

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self._scope.k

    def add_matches(self, matches: Matches, keys: Int64[np.ndarray, " word"]) -> None:
        """Explanations, and exemplars whose peak is at a word of the query; then exemplars whose peak is elsewhere."""
        scores = np.full(self._texts.n_texts, -np.inf)
        scores[matches.ids] = matches.scores
        exemplars = self._texts.rows["exemplar"]
        at_peak = exemplars.of_words(keys)
        rows: dict[Kind, np.ndarray] = {"explanation": self._texts.rows["explanation"].of_texts(matches.ids)}
        rows["exemplar"] = at_peak[scores[exemplars.columns["text"][at_peak]] > -np.inf]
        self._add({kind: rows[kind] for kind in self._scope.kinds}, scores)
        if "exemplar" not in self._scope.kinds:
            return
        is_at_peak = np.zeros(exemplars.n, bool)
        is_at_peak[at_peak] = True
        order, start, n = np.argsort(-matches.scores, kind="stable"), 0, 4 * self._scope.k
        ids, of_ids = matches.ids[order], matches.scores[order]
        while start < len(ids) and not self.is_full:
            stop = min(len(ids), start + n)
            while stop < len(ids) and of_ids[stop] == of_ids[stop - 1]:  # ties are in order of neuron
                stop += 1
            others = exemplars.of_texts(ids[start:stop])
            self._add({"exemplar": others[~is_at_peak[others]]}, scores)
            start, n = stop, 2 * n

    def add_texts(self, ids: np.ndarray, scores: np.ndarray, kinds: Sequence[Kind]) -> None:
        """All rows of some texts."""
        of_text = np.full(self._texts.n_texts, -np.inf)
        of_text[ids] = scores
        self._add({kind: self._texts.rows[kind].of_texts(ids) for kind in kinds}, of_text)

    def _add(self, rows: Mapping[Kind, np.ndarray], of_text: np.ndarray) -> None:
        kept = {kind: own[_in_scope(self._texts, kind, own, self._scope, self._query)] for kind, own in rows.items()}
        kinds = list(kept)
        own = np.concatenate([kept[kind] for kind in kinds])
        which = np.repeat(np.arange(len(kinds)), [len(kept[kind]) for kind in kinds])
        order = np.concatenate([self._texts.rows[kind].order(kept[kind]) for kind in kinds])
        ids = np.concatenate([self._texts.rows[kind].columns["text"][kept[kind]] for kind in kinds])
        score = of_text[ids]
        for i in np.lexsort((order, -score)):
            if self.is_full:
                return
            if self._n_of[int(ids[i])] < self._scope.per_text:
                self._n_of[int(ids[i])] += 1
                self.found.append(Chosen(kinds[which[i]], int(own[i]), float(score[i])))


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


def _in_scope(
    texts: Texts, kind: Kind, own: Int64[np.ndarray, " row"], scope: Scope, query: WordQuery | None
) -> Bool[np.ndarray, " row"]:
    """Which of some rows a search may find."""
    columns, mask = texts.rows[kind].columns, np.ones(len(own), bool)
    if scope.layers is not None:
        mask &= np.isin(columns["layer"][own], np.array(scope.layers, np.int64))
    if query is not None and query.places:
        mask &= np.logical_or.reduce([_is_at(columns, own, place) for place in query.places])
    if query is not None and query.sets:
        wanted = [i for i, name in enumerate(texts.sets) if name.casefold() in query.sets]
        mask &= np.isin(columns["set"][own], wanted) if kind == "explanation" else False
    return mask


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


def _is_at(columns: Columns, own: Int64[np.ndarray, " row"], place: Place) -> Bool[np.ndarray, " row"]:
    mask: np.ndarray = columns["layer"][own] == place.layer
    if place.neuron is not None:
        mask = mask & (columns["neuron"][own] == place.neuron)
    return mask if place.pole is None else mask & (columns["pole"][own] == POLES.index(place.pole))
