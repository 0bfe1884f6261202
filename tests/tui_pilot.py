"""Driving the browser in tests, and reading what is on its screen."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager

from paths import DEMO_RUN
from textual.pilot import Pilot

from neuron_signatures.tui.app import BrowseApp, Opening
from neuron_signatures.tui.options import Options

DEMO = DEMO_RUN


def async_test(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an `async def` test; pytest's fixtures see its arguments."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def browsing(options: Options, size: tuple[int, int] = (80, 24), **settings):
    """The pilot of a browser that has read its run."""
    app = BrowseApp(options, **{"rest_seconds": 0.002, **settings})
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield pilot


async def settle(pilot: Pilot) -> None:
    """Wait until nothing is being read, as seen twice: a screen that was just pushed has not begun yet."""
    quiet = 0
    for _ in range(1000):
        await pilot.pause(0.01)
        app = pilot.app
        idle = not isinstance(app.screen, Opening) and app.screen.is_mounted and not getattr(app.screen, "waiting", ())
        quiet = quiet + 1 if idle else 0
        if app._exit or quiet == 2:
            return
    raise AssertionError(f"still waiting for {getattr(pilot.app.screen, 'waiting', 'the run')}:\n{text_of(pilot)}")


async def press(pilot: Pilot, *keys: str) -> str:
    """Press keys one by one, waiting after each; the screen's text afterwards."""
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
    """What is on the screen, without colours; the screens under a box are seen too."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip) for strip in strips)


async def until_shown(pilot: Pilot, text: str) -> str:
    """Wait until this is on the screen; all that is there, in one line."""
    for _ in range(400):
        await pilot.pause(0.01)
        shown = " ".join(text_of(pilot).split())
        if text in shown:
            return shown
    raise AssertionError(f"{text!r} did not come:\n{text_of(pilot)}")


ALL_KEYS = ["n", "right", "down", "i", "a", "m", "t", "escape", "o", "escape", "enter", "escape", "e", "escape", "p",
            "escape", "w", "escape", "f", "escape", "question_mark", "escape"]  # fmt: skip


async def tour(pilot: Pilot) -> str:
    """Every screen of the run; all that was on them."""
    seen = [text_of(pilot)]
    for key in ALL_KEYS:
        seen.append(await press(pilot, key))
    return "\n".join(seen)
