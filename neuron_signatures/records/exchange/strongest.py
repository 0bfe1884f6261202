"""The strongest texts of an export, in the order of the activations that it shows."""

from __future__ import annotations

from neuron_signatures.records.exchange.options import ExportOptions
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window


def strongest_rows(records: Records, layer: int, neuron: int, options: ExportOptions) -> list[Window]:
    """The strongest windows of the positive pole whose rows are stored, ordered by the peak of their row.

    A row was computed in another batch than the value in the list, and the last digits differ. Texts of equal strength
    are ordered by their tokens, so that an import, which numbers windows anew, keeps the order.
    """
    found = records.strongest(layer, neuron, "+", parts=options.parts, k=options.n_strongest)
    return sorted((w for w in found if w.acts is not None), key=_order)


def _order(window: Window) -> tuple[float, tuple[str, ...], tuple[float, ...]]:
    assert window.acts is not None
    return -float(window.acts[window.counted_from :].max()), window.tokens, tuple(window.acts.tolist())
