"""What every command shares: how flags are read, and how a failure becomes one line and an exit code.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import functools
import json
import logging
import math
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

from neuron_signatures.models.spec import DEFAULT_MODEL, DEVICE_MAPS, ModelSpec
from neuron_signatures.runs.errors import (
    ExitCode,
    ProjectError,
    StoppedEarly,
    StopSignal,
    UsageError,
    escape_controls,
)

_HANDLER = "neuron_signatures.stderr"


class Main(Protocol):
    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


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


def command(main: Main) -> Main:
    """Make `main` end as the documentation says: the one line of a `ProjectError` and its exit code,
    130 on Ctrl-C, 141 when the reader of stdout went away, and no `UnicodeEncodeError` in any locale."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _open_streams()
        try:
            code = main(argv)
            sys.stdout.flush()
            return int(code)
        except StoppedEarly as e:
            sys.stderr.write(f"{e.line()}\n")
            return int(e.exit_code)
        except ProjectError as e:
            sys.stderr.write(f"error: {e.line()}\n")
            return int(e.exit_code)
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # 128 + SIGPIPE, which Windows does not name
        except OSError as e:
            where = f"{e.filename}: " if e.filename else ""
            sys.stderr.write(f"error: {escape_controls(f'{where}{e.strerror or e}')}\n")
            return int(ExitCode.FAILED)
        except MemoryError:
            sys.stderr.write("error: out of memory\n")
            return int(ExitCode.FAILED)
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            return 128 + signal.SIGINT

    return wrapped


def _open_streams() -> None:
    """No `UnicodeEncodeError` in any locale, and somewhere to write to when a stream was closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  lives as long as the process
        else:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def stop_on_signals(*, resume: str) -> Iterator[None]:
    """Within the block, SIGTERM, SIGINT and Slurm's SIGUSR1 end it with `StoppedEarly`.

    What is on disk is whole at every moment, so dropping the item at hand is safe. A second signal ends the process
    at once with 128 + its number.
    """
    names = [n for n in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, n)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(getattr(signal, n)) for n in names}
    seen: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + signum)
        if _is_importing(frame):  # C modules such as numpy's do not survive an exception there: come back later
            later = threading.Timer(0.05, _thread.interrupt_main, (signum,))
            later.daemon = True
            later.start()
            return
        seen.append(signum)
        raise StopSignal

    for n in names:
        signal.signal(getattr(signal, n), stop)
    try:
        yield
    except StopSignal:
        what = f"stopped by {signal.Signals(seen[0]).name}; what was finished is kept"
        raise StoppedEarly(what, next_step=f"To go on, {resume}") from None
    finally:
        for n, handler in before.items():
            signal.signal(getattr(signal, n), handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def parse_bytes(text: str) -> int:
    """Bytes in `512MB`, `1.5 GiB` or `4096`; for argparse, which turns the error into one line."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[Bb]?\s*", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512MB")
    number, prefix, binary = match.groups()
    if len(number) > 20:
        raise argparse.ArgumentTypeError("that is more than any disk holds")
    value = int(float(number) * (1024 if binary else 1000) ** " kMGT".index(prefix.replace("K", "k") or " "))
    if value < 1:
        raise argparse.ArgumentTypeError("a size must be at least one byte")
    return value


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number not below `low`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from e
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        if value >= 1 << 63:
            raise argparse.ArgumentTypeError("a number of more than 63 bits")
        return value

    return parse


def number(text: str) -> float:
    """An argparse type: a finite number."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def folder(text: str) -> Path:
    """An argparse type: a path, `~` expanded."""
    return Path(text).expanduser()


def share(text: str) -> float:
    """An argparse type: a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def parse_ctx(text: str) -> int | str:
    """An argparse type: a token position (negative counts from the end), or `all`."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a position nor all") from e


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say which model runs, where, and in which precision (docs/models.md)."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model_name", default=DEFAULT_MODEL, metavar="NAME",
        help=f"demo, smollm2, a Hugging Face id, a local folder or a .gguf file; default {DEFAULT_MODEL}",
    )  # fmt: skip
    group.add_argument("--model_revision", metavar="REV", help="branch, tag or commit")
    group.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="default: bf16")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps; default auto")
    group.add_argument("--quantization", choices=("none", "8bit", "4bit"), default="none", help="needs bitsandbytes")
    group.add_argument("--device_map", choices=DEVICE_MAPS, help="auto spreads the model over several GPUs")
    group.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")


def model_spec(args: argparse.Namespace) -> ModelSpec:
    return ModelSpec(
        name=args.model_name,
        revision=args.model_revision,
        dtype=args.model_dtype,
        device=args.device,
        quantization=args.quantization,
        device_map=args.device_map,
        trust_remote_code=args.trust_remote_code,
    )


def setup_logging(*, quiet: bool) -> None:
    """Log to stderr: notices by default, only warnings and worse when `quiet`."""
    project = logging.getLogger("neuron_signatures")
    for handler in [h for h in project.handlers if h.get_name() == _HANDLER]:
        project.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(_OneLine("%(message)s"))
    project.addHandler(handler)
    project.setLevel(logging.WARNING if quiet else logging.INFO)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


def emit(text: str) -> None:
    """Write one result line to stdout."""
    sys.stdout.write(text + "\n")


def emit_json(record: Any) -> None:
    """Write `record` to stdout as one line of strict JSON."""
    emit(json.dumps(record, ensure_ascii=True, allow_nan=False))


def ok() -> int:
    return int(ExitCode.OK)
