"""Runs of the demo model with records, and scorers that run it, with a server that writes and judges."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llm_sessions import client_of
from misbehaving_server import Act, Asked, answer

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.session import Session
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.poc4_extract_records import main as extract
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import Control
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.scorer import Item, ItemScorer, Scored
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.tools import Tools

FROM = NeuronPole(0, 399, "+")
"""A neuron of the demo model that is active on the token ` from` alone."""
LIVE = NeuronPole(0, 86, "+")
"""... and one on ` live`."""
SAID = {FROM: "the word from", LIVE: "the word live"}
OTHERS = (("x-1", Said("questions about cities")), ("x-2", Said("numbers that are added")))
CPU = ModelOverrides(device="cpu")


def make_demo_records(folder: Path, *more: str) -> Path:
    """A run without prompts, with records of the demo model on a few thousand tokens of its corpus."""
    flags = [
        "--out_dir", str(folder), "--model_name", "demo", "--corpus", "demo", "--max_tokens", "6000", "--neurons",
        "L0N399,L0N86,L4N353", "--device", "cpu", "--quiet", *more,
    ]  # fmt: skip
    assert extract(flags) == 0
    return folder


def texts_of(records: Records, at: NeuronPole, design: Design) -> NeuronTexts:
    return neuron_texts(records, at, design)


def item_of(at: NeuronPole, *, said: str | None = None, control: Control = "own", **fields: object) -> Item:
    return Item(at, "e-1", control, Said(SAID.get(at, "text") if said is None else said), **fields)  # type: ignore[arg-type]


@contextlib.contextmanager
def tools_for(
    run_dir: Path, base_url: str | None = None, *, llm_dir: Path | None = None, design: Design | None = None
) -> Iterator[Tools]:
    """Tools whose session asks the server at `base_url`. The journal is in `llm_dir`, by default in the run."""
    with Run.open(run_dir) as run, Records.open(run) as records:
        session = None
        if base_url is not None:
            session = Session(client_of(base_url), RequestFiles(llm_dir or run_dir), None, Limits(), None, "score")
        yield Tools(run, records, design or Design(n_draws=200), session, CPU)
        if session is not None:
            session.close()


def score(make: Callable[[Tools], ItemScorer], tools: Tools, items: Sequence[Item]) -> list[Scored]:
    """The items' scores, all asked at once; the client is closed afterwards. `seconds` is 0."""
    scorer = make(tools)

    async def go() -> list[Scored]:
        texts = [texts_of(tools.records, item.at, tools.design) for item in items]
        found = await asyncio.gather(*(scorer.score(i, t) for i, t in zip(items, texts, strict=True)))
        assert tools.session is not None
        await tools.session.client.close()
        return [dataclasses.replace(one, seconds=0.0) for one in found]

    return asyncio.run(go())


def question(asked: Asked) -> dict[str, object]:
    """The JSON of the last message."""
    found = json.loads(asked.body["messages"][-1]["content"])
    assert isinstance(found, dict)
    return found


def writer(asked: Asked) -> Act:
    """Writes sentences with the last word of the explanation, and without it; never the same twice."""
    word, n = str(question(asked)["explanation"]).split()[-1], asked.body["seed"]
    active = [f"The traveller number {n} {i} comes {word} Ohio." for i in range(5)]
    inactive = [f"The traveller number {n} {i} comes to Ohio." for i in range(5)]
    return answer(json.dumps({"active": active, "inactive": inactive}))
