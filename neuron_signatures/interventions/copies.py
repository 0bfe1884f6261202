"""Many edited copies of one prompt per forward pass, and what the model predicts for each.

These are the suffix passes of stage 2 (`models.suffix`), which a test compares with the bridge's hooks. The model
should be in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import capped, pre_cap_logits
from neuron_signatures.interventions.changes import Changes, changed
from neuron_signatures.models.batching import BatchSize, memory_faults, run_in_passes, work_on
from neuron_signatures.models.suffix import Edit as SuffixEdit
from neuron_signatures.models.weights import unembedding

DEFAULT_BATCH = 64


@dataclass(frozen=True)
class Predictions:
    """What the model predicts at the target position in each pass, float32 on the CPU; one row per pass.

    `value` is the target function f. `difference` is the pre-cap logit of the target, minus the foil's if there is
    one. `logprob` (nats), `probability` and `rank` (0: the most likely token) are the target's. Without a foil,
    `foil_probability` is NaN and `foil_rank` -1. `kl` is KL(clean ‖ edited) in nats over the whole vocabulary.
    `top_id` is the most likely token.
    """

    value: Float[Tensor, " n"]
    difference: Float[Tensor, " n"]
    logit: Float[Tensor, " n"]
    foil_logit: Float[Tensor, " n"]
    logprob: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    foil_probability: Float[Tensor, " n"]
    rank: Int[Tensor, " n"]
    foil_rank: Int[Tensor, " n"]
    kl: Float[Tensor, " n"]
    top_id: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: slice | Bool[Tensor, " n"]) -> Predictions:
        return Predictions(*(getattr(self, f)[rows] for f in FIELDS))

    def row(self, i: int) -> dict[str, float | int | None]:
        """One pass as plain values; undefined ones (of a foil that is not there) are None."""
        values = {f: getattr(self, f)[i].item() for f in FIELDS}
        return {f: None if v != v else v for f, v in values.items()}


FIELDS = tuple(Predictions.__dataclass_fields__)


def joined_predictions(some: Sequence[Predictions]) -> Predictions:
    """The rows of all of them, in order."""
    return Predictions(*(torch.cat([getattr(p, f) for p in some]) for f in FIELDS))


@torch.no_grad()
def predictions(
    problem: Problem,
    logits: Float[Tensor, "n vocab"],
    clean_logits: Float[Tensor, " vocab"],
) -> Predictions:
    """From pre-cap logits at the target position. `clean_logits` are those of the unedited pass."""
    head, target = unembedding(problem.hf), problem.target
    after = capped(head, logits)
    logprobs = after.log_softmax(-1)
    clean = capped(head, clean_logits).log_softmax(-1)
    own = logits[:, target.token_id]
    foil = torch.full_like(own, torch.nan) if target.foil_id is None else logits[:, target.foil_id]
    foil_p = torch.full_like(own, torch.nan) if target.foil_id is None else logprobs[:, target.foil_id].exp()
    function = {"pre_cap_logit": logits, "logit": after, "logprob": logprobs}[target.function]
    value = function[:, target.token_id] - (0.0 if target.foil_id is None else function[:, target.foil_id])
    kl = (clean.exp() * (clean - logprobs)).nan_to_num().sum(-1)
    return Predictions(
        *(
            x.cpu()
            for x in (
                value, own if target.foil_id is None else own - foil, own, foil, logprobs[:, target.token_id],
                logprobs[:, target.token_id].exp(), foil_p, _ranks(logits, target.token_id),
                _ranks(logits, target.foil_id), kl, logits.argmax(-1),
            )
        )
    )  # fmt: skip


def _ranks(logits: Float[Tensor, "n vocab"], token_id: int | None) -> Int[Tensor, " n"]:
    """Rank of a token, 0 for the most likely one; as in `target_facts`, ties go to the smaller id."""
    if token_id is None:
        return torch.full_like(logits[:, 0], -1, dtype=torch.long)
    own = logits[:, token_id, None]
    return (logits > own).sum(-1) + (logits[:, :token_id] == own).sum(-1)


class Copies:
    """Edited copies of the problem's prompt. Edits are at positions from `first` to the target position."""

    def __init__(self, problem: Problem, *, first: int, batch: int = DEFAULT_BATCH) -> None:
        self.problem, self.first, self.batch = problem, first, batch
        self._suffix = problem.suffix(first=first)
        self._size = BatchSize(batch)

    @torch.no_grad()
    def run(self, sets: Iterable[Changes]) -> Iterator[tuple[Predictions, Predictions]]:
        """Predictions of the clean copy (one row) and of the next sets, in order; one forward pass each.

        The clean copy is the first of every pass, so that an effect is a difference within one pass; that of a set that
        changes nothing is exactly 0. Sets are taken from the iterator as they are needed. Raises `EnvironmentProblem`
        if one copy does not fit into memory.
        """
        work = work_on(self.problem.hf, "edited copies", self.problem.token_ids)
        yield from run_in_passes(self._pass, sets, size=self._size, unit="copies", work=work)

    def effects(self, sets: Iterable[Changes]) -> Iterator[float]:
        """The effect of each set on the target function: edited minus clean."""
        for clean, edited in self.run(sets):
            yield from (edited.value - clean.value).tolist()

    @torch.no_grad()
    def logits(self, changes: Changes) -> Float[Tensor, "2 vocab"]:
        """Pre-cap logits at the target position of the clean copy and of one edited copy, of the same pass."""
        with memory_faults(work_on(self.problem.hf, "an edited copy", self.problem.token_ids)):
            return self._logits([changes])

    def _pass(self, members: Sequence[Changes]) -> tuple[Predictions, Predictions]:
        logits = self._logits(members)
        both = predictions(self.problem, logits, logits[0])
        return both[:1], both[1:]

    def _logits(self, members: Sequence[Changes]) -> Float[Tensor, "copy vocab"]:
        """Of the clean copy, then of each edited one."""
        edit, layers = suffix_edit(members, self.first)
        hidden = self._suffix.run(len(members) + 1, edit, layers, from_layer=layers[0] if layers else 0)
        logits = pre_cap_logits(unembedding(self.problem.hf), hidden)
        # equal rows of a batch may be rounded differently
        logits[[i for i, m in enumerate(members, 1) if m.is_nothing]] = logits[0].clone()
        return logits


def suffix_edit(members: Sequence[Changes], first: int, *, clean: bool = True) -> tuple[SuffixEdit, list[int]]:
    """The edit of a suffix from position `first` that applies set i to copy i, and the layers that it changes.

    With `clean`, copy 0 is kept, and set i is applied to copy i + 1.
    """
    copy = torch.cat([torch.full((len(m),), i + clean) for i, m in enumerate(members)])
    layer, pos, neuron = (torch.cat([getattr(m, f) for m in members]) for f in ("layer", "pos", "neuron"))
    factor, offset = (torch.cat([getattr(m, f) for m in members]) for f in ("factor", "offset"))
    assert not len(pos) or int(pos.min()) >= first
    by_layer = {at: (layer == at).nonzero()[:, 0] for at in sorted(set(layer.tolist()))}

    def edit(at: int, acts: Tensor) -> Tensor:
        if at not in by_layer:
            return acts
        rows = by_layer[at]
        cells = tuple(i[rows].to(acts.device) for i in (copy, pos - first, neuron))
        old = acts[cells]
        times, plus = factor[rows].to(old), offset[rows].to(old)
        return acts.index_put(cells, changed(old, times, plus))

    return edit, list(by_layer)
