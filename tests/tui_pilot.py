"""Helpers that drive the browser in tests and read its screen."""

from __future__ import annotations

import asyncio
import functools
import io
import shutil
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path

from paths import DEMO_RUN
from textual.pilot import Pilot

from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.tui.app import BrowseApp, Opening
from neuron_signatures.tui.options import Options

DEMO = DEMO_RUN


def with_contrast(run_dir: Path, *flags: str) -> Path:
    """A copy of the demo run that also has a contrast, made with these flags."""
    shutil.copytree(DEMO, run_dir)
    side = "concepts=capital@token: is"
    with redirect_stdout(io.StringIO()):
        code = analyze(["--run_dir", str(run_dir), "--quiet", "--mode", "contrast", "--a", side, *flags])
    assert code == 0
    return run_dir


def async_test(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an `async def` test; keeps its signature for pytest fixtures."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def browsing(options: Options, size: tuple[int, int] = (80, 24), **settings):
    """The pilot of a browser, after its run was read."""
    app = BrowseApp(options, **{"rest_seconds": 0.002, **settings})
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield pilot


async def settle(pilot: Pilot) -> None:
    """Wait until no job runs, checked twice: a new screen may not have started its job yet."""
    quiet = 0
    for _ in range(6000):
        await pilot.pause(0.01)
        app = pilot.app
        idle = not isinstance(app.screen, Opening) and app.screen.is_mounted and not getattr(app.screen, "waiting", ())
        quiet = quiet + 1 if idle else 0
        if app.return_code is not None or quiet == 2:
            return
    raise AssertionError(f"still waiting for {getattr(pilot.app.screen, 'waiting', 'the run')}:\n{text_of(pilot)}")


async def press(pilot: Pilot, *keys: str) -> str:
    """Press keys one by one, waiting after each; returns the text of the screen."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    return text_of(pilot)


async def type_in(pilot: Pilot, text: str) -> str:
    """Type into the box and press Enter."""
    from textual.widgets import Input

    pilot.app.screen.query_one(Input).value = text
    return await press(pilot, "enter")


def text_of(pilot: Pilot) -> str:
    """Text on the screen, including screens under an input box."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip) for strip in strips)


async def until_shown(pilot: Pilot, text: str) -> str:
    """Wait until this is on the screen; returns its text as one line."""
    for _ in range(400):
        await pilot.pause(0.01)
        shown = " ".join(text_of(pilot).split())
        if text in shown:
            return shown
    raise AssertionError(f"{text!r} did not appear:\n{text_of(pilot)}")


ALL_KEYS = ["n", "right", "down", "i", "a", "m", "t", "escape", "o", "escape", "enter", "escape", "d", "escape", "p",
            "escape", "w", "escape", "f", "escape", "question_mark", "escape"]  # fmt: skip


async def tour(pilot: Pilot) -> str:
    """Open every screen of the run; returns the text of all of them."""
    seen = [text_of(pilot)]
    for key in ALL_KEYS:
        seen.append(await press(pilot, key))
    return "\n".join(seen)
