"""Text functions take time in proportion to their text: a run folder may hold texts of any length."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
from rich.style import Style
from run_folders import write_run

from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Span, clip
from neuron_signatures.tui.layout.widgets import strip_of

PACKAGES = ("runs", "views", "tui")
TEXTS = {
    "letters": "a", "words": "word ", "spaces": " ", "digits": "1", "points": "1.", "wide": "漢",
    "combining": "e\u0301", "escapes": "\x1b[31m", "quotes": '"\\',
    "slashes": "/1", "marks": ">1", "brackets": "[", "surrogates": "\udfff",
}  # fmt: skip
N = 600
COLUMNS = 40
# These act on files or the terminal with the name that is their text; `seal` takes JSON of ours only.
NOT_TEXT = {"is_activation_file", "default_run_dir", "seal"}


def text_functions() -> Iterator[Callable[..., object]]:
    """The public functions of these packages whose required arguments are texts and numbers of columns."""
    for package in PACKAGES:
        root = importlib.import_module(f"neuron_signatures.{package}")
        for info in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for name, f in inspect.getmembers(module, inspect.isfunction):
                if f.__module__ != info.name or name.startswith("_") or name in NOT_TEXT:
                    continue
                needed = [p for p in inspect.signature(f).parameters.values() if p.default is p.empty]
                kinds = [p.annotation for p in needed]
                if "str" in kinds and set(kinds) <= {"str", "int"}:
                    yield f


FUNCTIONS = list(text_functions())


def steps_of(call: Callable[[], object]) -> int:
    """The bytecode instructions that a call takes."""
    n = 0

    def trace(frame: FrameType, event: str, arg: object) -> object:
        nonlocal n
        frame.f_trace_opcodes = True
        n += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return n


def arguments(f: Callable[..., object], text: str) -> dict[str, object]:
    needed = (p for p in inspect.signature(f).parameters.values() if p.default is p.empty)
    return {p.name: text if p.annotation == "str" else COLUMNS for p in needed}


def is_linear(call: Callable[[str], object], piece: str) -> bool:
    call(piece)  # fills caches
    few, many = (steps_of(lambda n=n: call(piece * n)) for n in (N, 4 * N))
    return many < 5 * few + 1000


def test_the_functions_are_found():
    names = {f.__name__ for f in FUNCTIONS}
    assert {"escape", "visible", "brief", "fit", "width", "wrap", "safe", "shorten", "csv_text", "token_text"} <= names


@pytest.mark.parametrize(
    "f", FUNCTIONS, ids=lambda f: f"{f.__module__.removeprefix('neuron_signatures.')}.{f.__name__}"
)
def test_the_steps_grow_with_the_text(f):
    def call(text: str) -> None:
        with contextlib.suppress(ValueError, ProjectError):
            f(**arguments(f, text))

    assert [name for name, piece in TEXTS.items() if not is_linear(call, piece)] == []


@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS.keys())
def test_the_steps_of_a_layout_grow_with_the_text(piece):
    assert is_linear(lambda text: clip([Span(text)] * 3, COLUMNS), piece)
    assert is_linear(lambda text: fact_lines([Fact(text, text)], COLUMNS), piece)
    assert is_linear(lambda text: strip_of((Span(text),), COLUMNS, Style()), piece)


def test_showing_a_run_takes_no_more_steps_for_longer_prompts(tmp_path, capsys):
    run_dir = write_run(tmp_path / "r")
    record = json.loads((run_dir / "manifest.json").read_text())

    def steps(n: int) -> int:
        for p in record["prompts"]:
            p["text"] = "word " * n
        (run_dir / "manifest.json").write_text(json.dumps(record))
        return steps_of(lambda: main(["show", str(run_dir)]))

    steps(1)
    few, many = steps(N), steps(8 * N)
    assert many < 1.1 * few
    assert capsys.readouterr().out.count("…") == 6
