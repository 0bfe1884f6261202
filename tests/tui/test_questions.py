"""Four questions of a researcher, each answered in at most five inputs: keys, or a typed text with its Enter.

`inputs` counts them.
"""

from __future__ import annotations

import re

from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, type_in, with_contrast

from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.lists import ListPage

MOST = 5


async def inputs(pilot, *given: str) -> str:
    """Keys, and `=text` for a typed text; returns the screen."""
    assert len(given) <= MOST
    for x in given:
        await (type_in(pilot, x[1:]) if x[0] == "=" else press(pilot, x))
    await settle(pilot)
    return text_of(pilot)


def neurons(shown: str) -> list[str]:
    """The neurons in the rows of a list."""
    return re.findall(r"^[> ] +\d+ (L\d+N\d+)", shown, re.M)


@async_test
async def test_which_neurons_make_the_model_say_austin():
    async with browsing(Options(run_dir=DEMO)) as pilot:
        shown = await inputs(pilot, "w", "enter")
        assert isinstance(pilot.app.screen, ListPage) and "→ ·Austin" in shown.splitlines()[0]
        assert {"L4N178", "L3N508", "L1N375", "L1N440", "L4N425"} <= set(neurons(shown))
    async with browsing(Options(run_dir=DEMO), (170, 45)) as pilot:
        shown = await inputs(pilot)  # the list stands beside the first neuron
        assert "→ ·Austin" in shown and {"L4N178", "L3N508", "L1N375"} <= set(neurons(shown))


@async_test
async def test_what_does_each_respond_to():
    async with browsing(Options(run_dir=DEMO)) as pilot:
        seen = []
        for key in ((), ("full_stop",), ("full_stop",)):
            shown = await inputs(pilot, *key)
            seen.append(pilot.app.screen.walk.row().at.label)
            strongest = shown.split("strongest prompts")[1]
            assert shown.startswith(seen[-1]) and re.search(r"[+-]\S+ #\d:\d+ +\S", strongest)
        assert len(set(seen)) == 3


@async_test
async def test_which_are_about_texas():
    async with browsing(Options(run_dir=DEMO)) as pilot:
        shown = await inputs(pilot, "w", "enter", "slash", "=Texas")
        found = neurons(shown)
        assert "filter Texas" in shown and {"L4N425", "L3N322", "L3N393"} <= set(found)
        rows = [x for x in shown.splitlines() if re.match(r"[> ] +\d+ L", x)]
        assert rows and all("Texas" in x or "…" in x for x in rows)


@async_test
async def test_is_there_one_that_says_a_capital(tmp_path):
    run_dir = with_contrast(tmp_path / "demo_run", "--rank_by", "difference")
    async with browsing(Options(run_dir=run_dir)) as pilot:
        shown = await inputs(pilot, "w", "end", "up", "up", "enter")  # the contrast stands before peaks and signatures
        assert shown.startswith("contrast: concepts=capital@token: is vs other prompts")
        assert "L1N440" in neurons(shown)[:3]
