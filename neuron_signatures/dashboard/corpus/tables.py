"""Tables of a neuron on a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuron_signatures.runs.records.evidence import TokenMean
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.records.evidence import Evidence

MOST_TOKENS = 200
LOOKUP_HELP = {
    "token": "· is a space, ⏎ a line break.",
    "id": "The token id.",
    "mean": "Mean activation at this token in the sampled windows.",
    "count": "Occurrences of the token in the sampled windows.",
    "largest": "Largest activation at this token there.",
    "smallest": "Smallest activation at this token there.",
}


def lookup_frame(lookup: Sequence[TokenMean], pole: Pole) -> pd.DataFrame:
    """The tokens with the highest (pole `+`) or lowest mean, for display."""
    first = lookup[:MOST_TOKENS] if pole == "+" else lookup[::-1][:MOST_TOKENS]
    return pd.DataFrame(
        {
            "token": [visible(t.token) for t in first],
            "mean": [t.mean for t in first],
            "count": [t.count for t in first],
            "largest": [t.largest for t in first],
            "smallest": [t.smallest for t in first],
            "id": [t.token_id for t in first],
        }
    )


def passage_frame(found: Evidence) -> pd.DataFrame:
    """The strongest windows of both poles, for export; one row per window."""
    rows = [(p.pole, passage, w) for p in found.poles for passage in p.strongest for w in passage.windows]
    return pd.DataFrame(
        {
            "pole": [pole for pole, _, _ in rows],
            "activation": [w.value for _, _, w in rows],
            "token": [visible("" if w.pos is None else w.tokens[w.pos]) for _, _, w in rows],
            "text": [escape(p.short_text) for _, p, _ in rows],
            "part": [w.part for _, _, w in rows],
            "document": [brief(w.document_name) for _, _, w in rows],
            "window": [w.window for _, _, w in rows],
            "position": [w.pos for _, _, w in rows],
        }
    )


def moment_facts(found: Evidence) -> list[tuple[str, str]]:
    """Moments and extremes as label and text; undefined ones are left out."""
    m, d = found.moments, found.distribution
    numbers = [("mean", m.mean), ("std", m.std), ("skewness", m.skewness), ("kurtosis", m.kurtosis)]
    facts = [("tokens", f"{m.count:,}")] + [(name, f"{v:+.4g}") for name, v in numbers if v is not None]
    for p in found.poles:
        if p.value is not None:
            facts.append(("largest" if p.pole == "+" else "smallest", f"{p.value:+.4g}"))
    above, below = (sum(b.n for b in d.bins if keep(b)) for keep in (lambda b: b.low >= 0, lambda b: b.low < 0))
    if d.n:
        facts.append(("signs", f"{below / d.n:.1%} negative, {above / d.n:.1%} positive or zero"))
    return facts
