"""Neurons for tests of judges, and judges on a loopback server: functions of an explanation and a line of a prompt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from llm_sessions import client_of
from misbehaving_server import Act, Asked, MisbehavingServer, Script, answer

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.fencing import BEGIN_DATA, END_DATA, END_MARK, MARK, fenced_tokens, heading
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import Control
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.judges.detection import DetectionScorer
from neuron_signatures.scoring.judges.fuzzing import FuzzingScorer
from neuron_signatures.scoring.planted.neurons import Planted, PlantedKind, plant
from neuron_signatures.scoring.planted.passages import demo_passages
from neuron_signatures.scoring.planted.records import write_planted
from neuron_signatures.scoring.scorer import Item, Scored
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.texts import Text, strongest_texts, uniform_texts
from neuron_signatures.scoring.tools import Tools

JudgeClass = type[DetectionScorer] | type[FuzzingScorer]
Verdict = Callable[[str, str], bool]
"""Of an explanation and a line."""
THRESHOLD = 1.0


@dataclass(frozen=True)
class World:
    """A run with planted neurons, numbered in this order."""

    folder: Path
    neurons: tuple[Planted, ...]

    def texts(self, n: int) -> NeuronTexts:
        """Of the report part; the threshold is far above the noise of planted neurons."""
        with Records.open(self.folder) as records:
            return neuron_texts(records, NeuronPole(0, n, "+"))


def make_world(folder: Path, kinds: Sequence[PlantedKind], n: int, *, seed: int = 0) -> World:
    passages = demo_passages(600, seed=seed)
    neurons = tuple(neuron for kind in kinds for neuron in plant(passages, kind, n, seed=seed))
    write_planted(folder, passages, neurons)
    return World(folder, neurons)


def neuron_texts(records: Records, at: NeuronPole, *, threshold: float = THRESHOLD) -> NeuronTexts:
    top = strongest_texts(records, at, parts=("report",), k=5)
    return texts_of(uniform_texts(records, at, parts=("report",)), top=top, at=at, threshold=threshold)


def texts_of(
    uniform: Sequence[Text],
    *,
    top: Sequence[Text] = (),
    at: NeuronPole = NeuronPole(0, 0, "+"),  # noqa: B008
    threshold: float = THRESHOLD,
) -> NeuronTexts:
    groups = {"top": tuple(top), "random": (), "uniform": tuple(uniform)}
    largest = max([text.peak for text in [*top, *uniform]], default=0.0)
    return NeuronTexts(at, groups, {"top": (), "random": (), "uniform": ()}, threshold, largest)


def item(text: str, *, control: Control = "own", at: NeuronPole = NeuronPole(0, 0, "+"), **more: object) -> Item:  # noqa: B008
    return Item(at, "0" * 16, control, Said(text), **more)


def data_of(prompt: str) -> tuple[str, list[str]]:
    """The explanation and the lines of the last question in a prompt."""
    data = prompt.rpartition(f"{BEGIN_DATA}\n")[2].partition(f"\n{END_DATA}")[0].split("\n")
    assert (data[0], data[2]) == (heading("explanation"), heading("texts"))
    lines = [re.match(r"(\d+)\. (.*)", line) for line in data[3:]]
    assert [int(m[1]) for m in lines] == list(range(1, len(lines) + 1))
    return data[1], [m[2] for m in lines]


def judge(verdict: Verdict) -> Callable[[Asked], Act]:
    """A server's script that answers every line of a prompt by a function."""

    def act(asked: Asked) -> Act:
        explanation, lines = data_of(asked.prompt)
        return answer(str([int(verdict(explanation, line)) for line in lines]))

    return act


def true_lines(of: JudgeClass, texts: NeuronTexts) -> set[str]:
    """The lines for which the true answer is yes, written from the definition."""
    lines = set()
    for text in {t.window: t for group in texts.scored.values() for t in group}.values():
        active = (text.acts > texts.threshold) & text.counts
        tokens = fenced_tokens(text.tokens)
        if of is FuzzingScorer:
            tokens = [f"{MARK}{t}{END_MARK}" if a else t for t, a in zip(tokens, active, strict=True)]
        if active.any():
            lines.add("".join(tokens))
    return lines


def marks_of(line: str) -> tuple[str, list[str]]:
    """The text of a line without its marks, and the tokens that are marked."""
    return line.replace(MARK, "").replace(END_MARK, ""), re.findall(f"{MARK}(.*?){END_MARK}", line)


def score(
    of: JudgeClass,
    items: Sequence[Item],
    texts: NeuronTexts | Sequence[NeuronTexts],
    world: World,
    server: MisbehavingServer,
    run_dir: Path,
    *,
    design: Design | None = None,
    limits: Limits | None = None,
) -> list[Scored]:
    """Scores of items, one after the other, by the model behind a server."""
    all_texts = [texts] * len(items) if isinstance(texts, NeuronTexts) else texts

    async def go() -> list[Scored]:
        client = client_of(server.base_url)
        session = Session(client, RequestFiles(run_dir), None, limits or Limits(), None, "score")
        with Records.open(world.folder) as records:
            scorer = of(Tools(Run.open(world.folder), records, design or Design(n_draws=200), session))
            try:
                return [await scorer.score(one, t) for one, t in zip(items, all_texts, strict=True)]
            finally:
                session.close()
                await client.close()

    run_dir.mkdir(exist_ok=True)
    return asyncio.run(go())


def scored_by(
    of: JudgeClass,
    items: Sequence[Item],
    texts: NeuronTexts | Sequence[NeuronTexts],
    world: World,
    script: Script,
    run_dir: Path,
    *,
    design: Design | None = None,
) -> tuple[list[Scored], list[Asked]]:
    """As `score`, with a server of its own; and what it was asked."""
    with MisbehavingServer(script) as server:
        return score(of, items, texts, world, server, run_dir, design=design), server.requests


def tools_of(world: World, *, with_model: bool = True, design: Design | None = None) -> Tools:
    """With a session that is never asked, or none."""
    client = client_of("http://127.0.0.1:9/v1")
    session = Session(client, RequestFiles(world.folder), None, Limits(), None, "score") if with_model else None
    with Records.open(world.folder) as records:
        return Tools(Run.open(world.folder), records, design or Design(), session)


def simple_texts(n: int = 12, *, length: int = 8, seed: int = 0) -> list[Text]:
    """Windows of words, of which every second one is active at one or two places."""
    random = np.random.default_rng(seed)
    found = []
    for window in range(2 * n):
        acts = np.zeros(length, np.float32)
        if window % 2:
            acts[random.choice(length, size=int(random.integers(1, 3)), replace=False)] = random.uniform(1.5, 4)
        tokens = tuple(f" w{random.integers(1000)}{'!' if a else ''}" for a in acts)
        found.append(Text(window, window // 2, tokens, acts, np.ones(length, bool)))
    return found
