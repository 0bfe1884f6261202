"""The argument parser of every command. Nothing heavy is imported here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from neuron_signatures.runs.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse with the house's manners.

    `--prompt-id` is `--prompt_id`; `@file` stands for the flags in a file (shell quoting, `#` comments)
    unless it is the value of a flag; a mistake raises `UsageError` instead of ending the process.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("usage", "%(prog)s [flags]")
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        tokens = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._expand(tokens, depth=0), namespace)

    def given(self, args: Sequence[str] | None = None) -> set[str]:
        """Names of the flags that stand in `args` (None: the command line), also those with their default value."""
        missing = object()
        blank = argparse.Namespace(**{a.dest: missing for a in self._actions})
        return {name for name, value in vars(self.parse_args(args, blank)).items() if value is not missing}

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, next_step="See --help")

    def _expand(self, tokens: Sequence[str], depth: int) -> list[str]:
        out: list[str] = []
        for token in tokens:
            if token.startswith("@") and len(token) > 1 and not self._takes_value(out[-1:]):
                out += self._expand(_flags_in(Path(token[1:])), depth + 1) if depth < 8 else self.error("@file nests")
            elif re.match(r"-\d", token) and self._takes_value(out[-1:]):
                out[-1] += f"={token}"  # argparse takes `-1,0` for a flag
            elif token.startswith("--") and not self._takes_value(out[-1:]):
                name, eq, value = token.partition("=")
                out.append("--" + name[2:].replace("-", "_") + eq + value)
            else:
                out.append(token)
        return out

    def _takes_value(self, previous: Sequence[str]) -> bool:
        """Whether the flag must have a value; one that may have one (`?`) leaves what looks like a flag alone."""
        action = self._option_string_actions.get(previous[0]) if previous else None
        return action is not None and action.nargs not in (0, "?")


def _flags_in(path: Path) -> list[str]:
    try:
        return shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as e:
        raise UsageError(f"cannot read flags from this file ({e})", where=f"@{path}") from e
