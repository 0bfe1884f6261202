"""What the model predicted after a prompt, as far as the influence results of a run record it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.result_records import InfluenceRecord, another_dump, read_record
from neuron_signatures.runs.tokens import visible


class Prediction(NamedTuple):
    """A next token whose probability a result records."""

    pos: int
    """The position after which it was predicted."""
    token: str
    """Raw."""
    probability: float
    rank: int
    """0 for the most likely token."""

    def text(self, last: int) -> str:
        """`→ ·Austin 99.5 %`, with the rank if that is not 0, and the position if it is not `last`."""
        rank = "" if self.rank == 0 else f", rank {self.rank}"
        after = "" if self.pos == last else f" after {self.pos}"
        share = "<0.1" if 0 < self.probability < 0.0005 else f"{100 * self.probability:.1f}"
        return f"→ {visible(self.token)} {share} %{rank}{after}"


def predictions(run_dir: Path, manifest: Manifest) -> Mapping[str, Prediction]:
    """One prediction for each prompt id that has any: a most likely token if possible, then the latest position.

    Results that cannot be read, or that describe another dump, are left out.
    """
    last = {p.probe_id: p.seq_len - 1 for p in manifest.prompts}
    found: dict[str, Prediction] = {}
    for stem in results.list_influence(run_dir):
        try:
            record = read_record(run_dir, results.meta_name(stem), InfluenceRecord)
        except ProjectError:
            continue
        target, prompt_id = record.target, record.prompt_id
        if prompt_id not in last or target.pos > last[prompt_id] or another_dump(manifest, record):
            continue
        new = Prediction(target.pos, target.token.token, target.token.probability, target.token.rank)
        old = found.get(prompt_id)
        if old is None or _order(new) < _order(old):
            found[prompt_id] = new
    return found


def _order(p: Prediction) -> tuple[int, int]:
    return p.rank, -p.pos
