"""Command lines with hostile values for the flags that the parsers have, hostile input files and surroundings."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attack_common import Trial
from attack_fixtures import dump_flags
from attack_manifests import copy_healthy_runs, make_victim

from neuron_signatures import __main__ as console
from neuron_signatures import poc1_browse_activations as browse
from neuron_signatures import poc1_dump_activations as poc1
from neuron_signatures import poc2_analyze_run as poc2
from neuron_signatures.models import __main__ as models
from neuron_signatures.runs import __main__ as runs

_TEXTS = [
    "", " ", "\udcff", "\udcff" * 300, "x" * 5000, "漢" * 3000, "\x1b[31m", "\x1b]52;c;aGk=\x07", "\u202eabc", "a\nb",
    "-", "--", "-x", "@", "@missing", "@@", "{}", "%s", "~nobody/x", "[/]", ",", ",,,", "0-", "5-1", "0-999999999999",
    "1,1,1", "seed_prompt", "prompt:", "prompt:nobody", "dla:0", "dla:99999999999999999999", ":", "all", " Austin",
]  # fmt: skip
_NUMBERS = [
    "0", "-1", "1", "2", "99999999", "9223372036854775807", "9223372036854775808", str(10**30), "9" * 5000,
    "-" + "9" * 400, "nan", "inf", "-inf", "1e309", "1e-400", "0.5", "0x10", "1_000", "٣", "1e3", "+1", " 1",
    "999999999999999GB", "1B",
]  # fmt: skip
_COLUMNS = ["99999999", str(10**30), "0", "-1", "x", "", "1", "20"]


class Stage(NamedTuple):
    """A program and a command line of it that works. `out` is the folder of the case, `shared` has the runs."""

    main: Callable[[Sequence[str]], int]
    parser: Callable[[], argparse.ArgumentParser]
    argv: Callable[[Path, Path], list[str]]
    share: int


STAGES = {
    "dump": Stage(poc1.main, poc1.make_parser, lambda shared, out: dump_flags(shared, out / "new"), 6),
    "rank": Stage(
        poc2.main, poc2.make_parser, lambda shared, out: ["--run_dir", str(out / "root" / "a_healthy"), "--quiet"], 4
    ),
    "influence": Stage(
        poc2.main,
        poc2.make_parser,
        lambda shared, out: ["--run_dir", str(out / "root" / "a_healthy"), "--mode", "influence", "--quiet"],
        2,
    ),
    "browse": Stage(
        browse.main, browse.make_parser, lambda shared, out: ["--run_dir", str(shared / "v2"), "--print"], 3
    ),
    "list": Stage(runs.main, runs.make_parser, lambda shared, out: ["list", str(out / "root")], 1),
    "show": Stage(runs.main, runs.make_parser, lambda shared, out: ["show", str(out / "root" / "a_healthy")], 1),
    "verify": Stage(runs.main, runs.make_parser, lambda shared, out: ["verify", str(out / "root" / "a_healthy")], 1),
    "migrate": Stage(
        runs.main, runs.make_parser, lambda shared, out: ["migrate", str(shared / "pt"), "--out_dir", str(out / "m")], 2
    ),
    "models": Stage(models.main, models.make_parser, lambda shared, out: ["--info", "demo"], 1),
    "console": Stage(console.main, console.make_parser, lambda shared, out: ["runs", "list", str(out / "root")], 1),
}


def attack_command_line(trial: Trial) -> None:
    """One case: a working command line with one to three hostile changes, in hostile surroundings."""
    rng = trial.rng
    out = trial.folder / "case"
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(trial.folder / "victim", ignore_errors=True)
    make_victim(trial.folder)
    copy_healthy_runs(trial.shared, out / "root")
    name = rng.choices(list(STAGES), weights=[s.share for s in STAGES.values()])[0]
    stage = STAGES[name]
    argv = stage.argv(trial.shared, out)
    for _ in range(rng.choice([1, 1, 2, 3])):
        argv = _changed(rng, argv, stage.parser(), out, trial.folder / "victim")
    with _surroundings(trial, out), trial.unchanged(trial.folder, trial.shared, but=[out]):
        trial.did(f"{name} {' '.join(map(ascii, argv))[:500]}")
        trial.command(stage.main, argv)


def _changed(
    rng: random.Random, argv: Sequence[str], parser: argparse.ArgumentParser, out: Path, victim: Path
) -> list[str]:
    """The command line with one flag more, or with one word replaced."""
    argv = list(argv)
    flags = [a for a in _actions(parser, argv) if a.option_strings and "--help" not in a.option_strings]
    if not flags or rng.random() < 0.3:
        at = rng.randrange(len(argv))
        argv[at] = _word(rng, argv[at], out, victim)
        return argv
    action = rng.choice(flags)
    flag = rng.choice(action.option_strings)
    if flag in argv:  # replaces the value
        at = argv.index(flag)
        del argv[at : at + (1 if action.nargs == 0 else 2)]
    if action.nargs == 0:
        return [*argv, flag]
    value = _value(rng, action, out, victim)
    return [*argv, f"{flag}={value}"] if rng.random() < 0.5 else [*argv, flag, value]


def _actions(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[argparse.Action]:
    """The parser's actions, with those of the chosen subcommand."""
    found = list(parser._actions)
    for action in parser._actions:
        chosen = action.choices.get(argv[0]) if isinstance(action.choices, dict) and argv else None
        found += chosen._actions if isinstance(chosen, argparse.ArgumentParser) else []
    return found


def _value(rng: random.Random, action: argparse.Action, out: Path, victim: Path) -> str:
    if action.choices and rng.random() < 0.6:
        return str(rng.choice(list(action.choices)))
    if getattr(action.type, "__name__", "") == "folder":
        return hostile_path(rng, out, victim)
    if action.type is None:
        return rng.choice([*_TEXTS, *_TEXTS, *_NUMBERS, hostile_path(rng, out, victim)])
    return rng.choice(_NUMBERS)


def _word(rng: random.Random, word: str, out: Path, victim: Path) -> str:
    if word.startswith("--"):
        return rng.choice(
            [word[:-1], word + "x", word.upper(), word + "=" + rng.choice(_TEXTS), word.replace("_", "-")]
        )
    return hostile_path(rng, out, victim) if "/" in word else rng.choice(_TEXTS + _NUMBERS)


def hostile_path(rng: random.Random, out: Path, victim: Path) -> str:
    """A path to something that is no ordinary input; it is made where it does not exist."""
    at = out / f"input-{rng.randrange(10**6)}"
    made: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(at),
        "loop": lambda: at.symlink_to(at),
        "folder": lambda: at.mkdir(),
        "empty": lambda: at.write_bytes(b""),
        "deep": lambda: at.write_bytes(b"[" * 200_000),
        "long prompt": lambda: at.write_text('[{"id": "a", "text": "' + "word " * 400_000 + '"}]'),
        "many prompts": lambda: at.write_text("".join(f'{{"id": "p{i}", "text": "a"}}\n' for i in range(2000))),
        "surrogates": lambda: at.write_text('[{"id": "a", "text": "\\ud800"}]'),
        "bad ids": lambda: at.write_text('[{"id": "../x", "text": "a"}, {"id": "' + "x" * 5000 + '", "text": ""}]'),
        "numbers": lambda: at.write_text('[{"id": "a", "text": "b", "n": ' + "9" * 5000 + "}]"),
        "words": lambda: at.write_text('["the", "' + "x" * 100_000 + '", 1]'),
        "bytes": lambda: at.write_bytes(bytes(range(256)) * 1000),
        "utf-16": lambda: at.write_text('[{"id": "a", "text": "b"}]', encoding="utf-16"),
        "large": lambda: at.open("wb").truncate(1 << 34),
        "flags": lambda: at.write_text("--json " * 5000),
    }
    kind = rng.choice([*made, "below a file", "outside", "fixed", "fixed", "fixed"])
    if kind in made:
        made[kind]()
        return str(at)
    if kind == "below a file":
        at.write_text("x")
        return str(at / "run")
    if kind == "outside":
        return str(victim)
    return rng.choice([
        "/dev/zero", "/dev/full", "/dev/null", "/dev/stdin", "/proc/self/mem", "/proc/none/run", "/sys/run",
        "/missing/x", "x" * 300, "/" + "x/" * 3000, "", ".", "..", "/dev", "/proc/self/environ",
        "\udcff", "/dev/fd/1000",
    ])  # fmt: skip


@contextlib.contextmanager
def _surroundings(trial: Trial, out: Path) -> Iterator[None]:
    """Within the block: a width of the terminal, a full disk, another folder, a full standard output, at times."""
    rng, before, here = trial.rng, dict(os.environ), Path.cwd()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    os.chdir(out)
    if rng.random() < 0.3:
        os.environ["COLUMNS"] = rng.choice(_COLUMNS)
        trial.did(f"COLUMNS={os.environ['COLUMNS']}")
    if rng.random() < 0.1:
        os.environ.update(rng.choice([{"HOME": "/missing"}, {"TMPDIR": "/missing"}, {"LC_ALL": "C"}, {"TERM": "dumb"}]))
    if rng.random() < 0.15:
        size = rng.choice([0, 100, 5000, 20_000])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        trial.did(f"files of at most {size} bytes")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.environ.clear()
        os.environ.update(before)
        os.chdir(here)
