"""Simulators that ask a language model, run on texts without the stage around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hand_made_records import records_of
from llm_sessions import CANARY, STAGE, client_of

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import ChatClient
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.simulators.base import Said, Simulated, Usage, WindowSimulator
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

__all__ = ["CANARY", "Bench", "failures"]

Make = Callable[[Tools], WindowSimulator]


@dataclass
class Bench:
    """A run with records of one neuron, in which simulators of one client work."""

    folder: Path
    client: Callable[[], ChatClient]
    cache: AnswerCache | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def with_server(cls, folder: Path, base_url: str, **fields: Any) -> Bench:
        return cls(folder, lambda: client_of(base_url), **fields)

    def simulate(
        self, make: Make, said: Said | str, texts: list[Text], *, again: frozenset[int] = frozenset(),
        tokenizer_sha256: str | None = None,
    ) -> tuple[list[Simulated], Usage]:  # fmt: skip
        """What a new simulator in a new session says, as a command that is repeated would."""
        said = Said(said) if isinstance(said, str) else said

        async def go() -> tuple[list[Simulated], Usage]:
            with ExitStack() as stack:
                tools = self.tools(stack, self.client(), tokenizer_sha256=tokenizer_sha256)
                assert tools.session is not None
                try:
                    simulator = make(tools)
                    assert isinstance(simulator, WindowSimulator)
                    found = await simulator.simulate_windows(said, texts, again=again)
                    assert found is not None
                    return found
                finally:
                    tools.session.close()
                    await tools.session.client.close()

        return asyncio.run(go())

    def tools(self, stack: ExitStack, client: ChatClient | None, *, tokenizer_sha256: str | None = None) -> Tools:
        run_dir = self.folder / "run"
        if not run_dir.exists():
            records_of(run_dir, ["a| b=1"] * 1).close()
        run = stack.enter_context(Run.open(run_dir))
        run.manifest = run.manifest.model_copy(update={"tokenizer_sha256": tokenizer_sha256})
        from neuron_signatures.runs.records.reader import Records

        records = stack.enter_context(Records.open(run))
        session = None
        if client is not None:
            session = Session(client, RequestFiles(run_dir), self.cache, self.limits, None, STAGE)
        return Tools(run, records, Design(), session)


def failures(found: list[Simulated]) -> list[str]:
    """The status of each window; one that is not ok has no values, and one that is has them."""
    for window in found:
        assert (window.values is None) == (window.status != "ok") and bool(window.reason) == (window.status != "ok")
    return [window.status for window in found]
