"""File names in `scores/`, the scorers, the controls, and the samples of windows."""

from __future__ import annotations

from typing import Literal

from neuron_signatures.runs.logs.names import LogKind

SCORES = "scores"
"""The stage folder."""
NAME_RULE = "[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
"""What the stem of the files of a scored set is."""
LOGS = LogKind(
    folder=SCORES,
    rule=NAME_RULE,
    reserved=("_meta", "_settings"),
    noun="logs",
    again="Copy the run again, or repeat the command that made the scores",
    max_line=64 << 20,  # the predictions of some dozens of windows of 4096 tokens are 10 MB
    max_log=64 << 30,  # only keys and scores are kept of it
)

Scorer = Literal[
    "rule", "embedding", "logits", "top_logprobs", "json", "detection", "fuzzing", "surprisal", "generation",
    "intervention", "fade",
]  # fmt: skip
SIMULATORS: tuple[Scorer, ...] = ("rule", "embedding", "logits", "top_logprobs", "json")
"""They predict activations; the others judge an explanation in another way."""
SCORERS: tuple[Scorer, ...] = (
    *SIMULATORS, "detection", "fuzzing", "surprisal", "generation", "intervention", "fade",
)  # fmt: skip

Control = Literal["own", "other", "shuffled", "empty", "text", "constant", "ceiling", "lookup"]
"""What is scored on a neuron: its `own` explanation, or a control.

- `other`: the explanation of another neuron of the layer; these are the null.
- `shuffled`: the own words in random order. `empty`: no explanation. `text`: the word "text". `constant`: the same
  prediction everywhere.
- `ceiling`: the activations of the neuron itself, quantised as the simulator quantises: the best possible.
- `lookup`: the look-up rule of the neuron, which is a baseline and not a null.
"""
CONTROLS: tuple[Control, ...] = ("own", "other", "shuffled", "empty", "text", "constant", "ceiling", "lookup")

SampleName = Literal["top", "random", "uniform", "sixty", "mistake"]
"""Which windows: the strongest, random ones, the uniform sample, the design of sixty examples; `mistake` marks windows
that are stored because the explanation fails there."""

Split = Literal["report", "select"]
"""The part of the corpus on which a score was measured. Values on `select` choose explanations, and are no scores."""


def scored_name(set_name: str, scorer: Scorer, *, model: str = "", split: Split = "report") -> str:
    """The stem of the files of one scorer on one set; `model` is the short name of a language model."""
    return f"{set_name}__{scorer}{f'-{model}' if model else ''}{'' if split == 'report' else '-select'}"
