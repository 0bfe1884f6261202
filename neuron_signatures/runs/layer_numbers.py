"""Layer numbers as users write them."""

from __future__ import annotations

from neuron_signatures.runs.errors import UsageError


def parse_layers(text: str | None, n_layers: int) -> list[int]:
    """Layers in `0,3,5-8` (also `-1` for the last), sorted; all for None. Raises `UsageError`."""
    if text is None:
        return list(range(n_layers))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-") if not part.strip().startswith("-") else (part.strip(), "", "")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError as e:
            raise UsageError(f"{part!r} is not a layer or a range such as 0-5", where="--layers") from e
        low, high = (n + n_layers if n < 0 else n for n in (low, high))
        if not 0 <= low <= high < n_layers:
            raise UsageError(f"{part.strip()} is not in 0..{n_layers - 1}", where="--layers")
        chosen.update(range(low, high + 1))
    return sorted(chosen)
