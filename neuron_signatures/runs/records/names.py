"""Names of the files in `records/`, of the parts of a corpus and of the poles of a neuron."""

from __future__ import annotations

from typing import Literal, NamedTuple

RECORDS = "records"
"""The stage folder."""

# The corpus as tokens. Written by the index pass; its record is the last file.
CORPUS = "corpus.safetensors"
DOCUMENTS = "documents"
VOCABULARY = "vocabulary"
CORPUS_META = "corpus_meta.json"
# All neurons. Written by the first pass, or by the merge of its shards.
STRONGEST = "strongest.safetensors"
MOMENTS = "moments.safetensors"
HISTOGRAMS = "histograms.safetensors"
NEURONS = "neurons"
RECORDS_META = "records_meta.json"
# The chosen neurons. Written by the second pass.
SAMPLE = "sample.safetensors"
ROWS = "rows.safetensors"
SAMPLE_META = "sample_meta.json"

Part = Literal["explain", "select", "report"]
PARTS: tuple[Part, ...] = ("explain", "select", "report")
"""In the order of the axis `part` of every array."""
Pole = Literal["+", "-"]
POLES: tuple[Pole, ...] = ("+", "-")
"""In the order of the axis `pole`: + is the largest activation, - the smallest."""


class NeuronPole(NamedTuple):
    """One pole of a neuron."""

    layer: int
    neuron: int
    pole: Pole

    @property
    def label(self) -> str:
        """Such as `L3N508+`."""
        return f"L{self.layer}N{self.neuron}{self.pole}"
