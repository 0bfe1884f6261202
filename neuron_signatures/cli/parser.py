"""The argument parser of every command. It imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from neuron_signatures.cli.output import emit
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input

_FLAGS_BYTES = 1 << 16  # shlex takes quadratic time for a long word
_prog: ContextVar[str | None] = ContextVar("prog", default=None)


@contextmanager
def started_as(prog: str) -> Iterator[None]:
    """Within the block, a stage is called `prog` in usage and errors, not `python -m neuron_signatures.<stage>`."""
    token = _prog.set(prog)
    try:
        yield
    finally:
        _prog.reset(token)


class Parser(argparse.ArgumentParser):
    """ArgumentParser with the project's conventions.

    - `--prompt-id` is the same as `--prompt_id`.
    - `@file` inserts the flags in a file (shell quoting, `#` comments), unless it is the value of a flag.
    - A mistake raises `UsageError`, with the nearest flag or choice, and does not end the process.
    - `renamed` are flags of earlier versions, with what to use instead.
    """

    renamed: Mapping[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (kwargs.get("prog") or "").startswith("python -m neuron_signatures."):
            kwargs["prog"] = _prog.get() or kwargs["prog"]
        kwargs.setdefault("usage", "%(prog)s [flags]")
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        tokens = list(sys.argv[1:] if args is None else args)
        tokens = self._expand(tokens, depth=0)
        self._refuse_mistyped_flags(tokens)
        return super().parse_known_args(tokens, namespace)

    def given(self, args: Sequence[str] | None = None) -> set[str]:
        """Names of the flags in `args` (None: the command line), including those set to their default value."""
        missing = _Unset()
        blank = argparse.Namespace(**{a.dest: missing for a in self._actions})
        return {name for name, value in vars(self.parse_args(args, blank)).items() if value is not missing}

    def without(self, args: Sequence[str], names: Collection[str]) -> list[str]:
        """`args`, which this parser accepts, without the flags of these names and their values; `@file` is inserted.

        The flags are switches, or flags with one value.
        """
        rest, tokens = [], iter(self._expand(list(args), depth=0))
        for token in tokens:
            flag, equals, _ = token.partition("=")
            action = self._option_string_actions.get(flag)
            if action is None or action.dest not in names:
                rest.append(token)
            elif not equals and action.nargs != 0:
                assert action.nargs is None, f"{flag} takes several values"
                next(tokens)
        return rest

    def print_help(self, file: Any = None) -> None:
        """Write the help to stdout. Raises an error if that fails, where argparse does not."""
        emit(self.format_help().rstrip("\n")) if file is None else super().print_help(file)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, next_step="See --help")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and "--" in arg_strings:  # argparse of Python 3.11 would drop it and return a list
            raise argparse.ArgumentError(action, "'--' is not a value")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as e:
            near = _nearest(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{e.message}; did you mean {near}?" if near else e.message) from None

    def _refuse_mistyped_flags(self, tokens: Sequence[str]) -> None:
        """Report an unknown flag that resembles a known one, before argparse reports a missing required flag."""
        for previous, token in pairwise(["", *tokens]):
            is_value = self._takes_value([previous])
            subcommand = self._subparsers is not None and not is_value and not token.startswith("-")
            if subcommand or token in ("--", "-h", "--help"):
                return
            name = token.partition("=")[0]
            unknown = name.startswith("--") and name not in self._option_string_actions
            if unknown and not is_value and name in self.renamed:
                self.error(f"{name} no longer exists; use {self.renamed[name]}")
            if unknown and not is_value and (near := _nearest(name, self._option_string_actions)):
                self.error(f"unknown flag {name}; did you mean {near}?")

    def _expand(self, tokens: Sequence[str], depth: int) -> list[str]:
        out: list[str] = []
        for token in tokens:
            if token.startswith("@") and len(token) > 1 and not self._takes_value(out[-1:]):
                out += self._expand(_flags_in(Path(token[1:])), depth + 1) if depth < 8 else self.error("@file nests")
            elif re.match(r"-\d", token) and self._takes_value(out[-1:]):
                out[-1] += f"={token}"  # argparse would parse `-1,0` as a flag
            elif token.startswith("--") and not self._takes_value(out[-1:]):
                name, eq, value = token.partition("=")
                out.append("--" + name[2:].replace("-", "_") + eq + value)
            else:
                out.append(token)
        return out

    def _takes_value(self, previous: Sequence[str]) -> bool:
        """Whether the flag requires a value. After a flag with an optional value (`?`), `--x` is the next flag."""
        action = self._option_string_actions.get(previous[0]) if previous else None
        return action is not None and action.nargs not in (0, "?")


class _Unset(list[str]):
    """The value of a flag that is not given. A list, because `action="append"` appends to a copy of it."""


def _nearest(text: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(text, list(known), n=1)), None)


def _flags_in(path: Path) -> list[str]:
    where = f"@{path}"
    try:
        return shlex.split(read_text_input(path, max_bytes=_FLAGS_BYTES), comments=True)
    except UsageError as e:
        raise UsageError(f"cannot read flags from this file ({e.what})", where=where, next_step=e.next_step) from e
    except ValueError as e:
        raise UsageError(f"cannot read flags from this file ({e})", where=where) from e
