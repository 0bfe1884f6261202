"""A progress bar on stderr, shown only in a terminal."""

from __future__ import annotations

import shutil
import sys

from tqdm import tqdm


class Progress:
    """Shows how much of `total` is done, the rate and the remaining time."""

    def __init__(self, total: int, *, quiet: bool, unit: str = "tok") -> None:
        ascii_only = (sys.stderr.encoding or "").lower().replace("-", "") != "utf8"
        columns = min(shutil.get_terminal_size().columns, 100)  # a terminal that reports 0 columns gets 80
        self._bar = tqdm(
            total=total, unit=unit, unit_scale=True, file=sys.stderr, ascii=ascii_only, ncols=columns, nrows=24,
            disable=quiet or not sys.stderr.isatty(), leave=False,
        )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, n: int) -> None:
        self._bar.update(n)
