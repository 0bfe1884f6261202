"""An intervention on a text: the prediction with and without edits, and its effect beside those of random neurons."""

from __future__ import annotations

from typing import Final

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.api.live import InterveneAnswer, InterveneRequest
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.copies import DEFAULT_BATCH, Copies, predictions
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.controls import measure
from neuron_signatures.server.live.edits import changes_of, check_edits, edit_warnings, refuse_cells
from neuron_signatures.server.live.predictions import find_target, target_answer, top_chances
from neuron_signatures.server.live.stopping import check
from neuron_signatures.server.live.tokens import ids_of, token_rows

_TOKENS_AT_ONCE: Final = 4096
_CELLS_AT_ONCE: Final = 2_000_000


def intervene(held: Held, request: InterveneRequest, stop: Stop) -> InterveneAnswer:
    """The prediction at the target position before and after, from two copies of the text in one forward pass.

    `effect` is a difference of the same function (the pre-cap logit, or its difference from the foil's) in the same
    pass. Each control edit is measured in the same way, its clean copy in its own pass.
    """
    ids = ids_of(held, request)
    edits = check_edits(held, request.edits, len(ids), stop)
    on = find_target(held, ids, request.on)
    refuse_cells(edits, on.target.pos)
    check(stop)
    changes = changes_of(edits, held.shape.d_mlp, on.target.pos)
    problem = Problem(held.model.hf, ids, on.target, (on.target.pos,))
    copies = Copies(problem, first=int(changes.pos.min()), batch=_batch(changes, on.target.pos))
    clean, edited = copies.logits(changes)
    before, after = (target_answer(held, on.target, logits) for logits in (clean, edited))
    effect = after.value - before.value
    return InterveneAnswer(
        tokens=token_rows(held, ids),
        before=before,
        after=after,
        effect=effect,
        kl=float(predictions(problem, edited[None], clean).kl[0]),
        top_before=top_chances(held, clean, request.top_k),
        top_after=top_chances(held, edited, request.top_k),
        controls=measure(held, request, ids, edits, copies, changes, effect, stop) if request.controls else None,
        warnings=[*on.warnings, *edit_warnings(edits)],
    )


def _batch(changes: Changes, last: int) -> int:
    """Edited copies per forward pass."""
    length = last + 1 - int(changes.pos.min())
    return max(1, min(DEFAULT_BATCH, _TOKENS_AT_ONCE // length, _CELLS_AT_ONCE // len(changes)))
