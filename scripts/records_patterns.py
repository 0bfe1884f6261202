"""How often the strongest windows of six neurons of SmolLM2 match a pattern that was written after reading `explain`.

    python scripts/records_patterns.py runs/smol

Prints, per neuron, the share of matches among the 20 strongest windows of `explain` and of `report` (read for the first
time here), and among all positions of the report windows of the sample; then the mean activation where the pattern
matches and where it does not (docs/records.md).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records


class Pattern(NamedTuple):
    """Regular expressions for the text before a position, its token, and the text after it."""

    layer: int
    neuron: int
    before: str
    token: str
    after: str

    def matches(self, tokens: Sequence[str], pos: int) -> bool:
        before, after = "".join(tokens[max(0, pos - 8) : pos]), "".join(tokens[pos + 1 : pos + 7])
        return bool(
            re.search(f"(?:{self.before})$", before)
            and re.fullmatch(self.token, tokens[pos])
            and re.match(self.after, after, re.DOTALL)
        )


ANY = r"[\s\S]*"
PATTERNS = (
    Pattern(8, 667, ANY, r"\s*etc\.?", ""),  # "etc" after a list
    Pattern(9, 1042, r"\de", "-", r"\d"),  # the sign of an exponent, 1e-3
    Pattern(16, 641, r"\b[Tt]here", ANY, ""),  # what follows "there"
    Pattern(19, 960, r"[A-Za-z]", r"\s*\(", r"[A-Za-z0-9-]*[A-Z][A-Za-z0-9-]*\)"),  # an abbreviation in brackets
    Pattern(25, 577, ANY, r"\s+", r"(?:19|20)\d\d"),  # the space before a year
    Pattern(26, 1341, ANY, ANY, ANY + r"\bthan\b"),  # "than" follows within six tokens
)
N_STRONGEST = 20
_REPORT: tuple[Part, ...] = ("report",)


def main(run_dir: Path) -> int:
    print("neuron      explain   report   all positions   mean where it matches, elsewhere (report sample)")
    with Records.open(run_dir) as records:
        for p in PATTERNS:
            tops = [_share_of_strongest(records, p, part) for part in ("explain", "report")]
            matched, acts = _on_sample(records, p)
            base = matched.mean()
            means = [f"{acts[rows].mean():+.3f}" if rows.any() else "-" for rows in (matched, ~matched)]
            shares = "   ".join(f"{share:6.0%}" for share in tops)
            n = int(matched.sum())
            print(f"L{p.layer}N{p.neuron:<6} {shares}   {base:10.2%}      {means[0]} (n {n}), {means[1]}")
    return 0


def _share_of_strongest(records: Records, p: Pattern, part: Part) -> float:
    windows = records.strongest(p.layer, p.neuron, "+", parts=(part,), k=N_STRONGEST)
    return float(np.mean([w.pos is not None and p.matches(w.tokens, w.pos) for w in windows]))


def _on_sample(records: Records, p: Pattern) -> tuple[np.ndarray, np.ndarray]:
    """Whether the pattern matches at each position that counts, and the activation there."""
    matched, acts = [], []
    for w in records.random_windows(p.layer, p.neuron, 1 << 20, parts=_REPORT, seed=0):
        assert w.acts is not None
        for pos in range(w.counted_from, len(w.tokens)):
            matched.append(p.matches(w.tokens, pos))
            acts.append(w.acts[pos])
    return np.array(matched), np.array(acts)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
