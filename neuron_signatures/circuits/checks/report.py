"""What the command prints about the tests of one circuit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.circuit.checks import faithfulness_words, read_checks, swap_words


def check_lines(run_dir: Path, name: str) -> Iterator[str]:
    """The circuit's own neurons, the sets that were compared with random ones, and the swaps of every group; nothing
    if it was not tested."""
    found = read_checks(run_dir, name)
    if found is None or found.outdated:
        return
    if (own := found.own) is not None and own.faithfulness is not None:
        yield f"tested   {faithfulness_words(own, 'own neurons of the circuit')}"
    yield from (f"tested   {faithfulness_words(c)}" for c in found.curves if c.n_random and c.faithfulness is not None)
    yield from (f"swapped  {escape(line)}" for line in swap_words(found.swaps))
    yield from (f"warning  {escape(warning)}" for warning in found.record.warnings)
