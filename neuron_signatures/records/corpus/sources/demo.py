"""Documents of the demo world, on which the demo model was trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from neuron_signatures.demo.world import documents
from neuron_signatures.records.corpus.sources.items import Item

N_DOCUMENTS = 20_000


@dataclass(frozen=True)
class DemoSource:
    """The first `n` documents of the stream of a seed; those of seed 0 that are not held out were trained on.

    Held-out pairs of a city and a phrasing are in the stream too, in one document of 80. Short sentences repeat: about
    13,000 of 20,000 documents differ.
    """

    seed: int
    n: int = N_DOCUMENTS

    def describe(self) -> dict[str, Any]:
        return {"kind": "demo", "seed": self.seed, "documents": self.n}

    def items(self) -> Iterator[Item]:
        for document in documents(self.seed, self.n):
            yield Item(document.id, document.text)
