"""Stage 5 as a command on a run with synthetic records, and what it wrote."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from misbehaving_server import MODEL
from record_runs import make_record_run

from neuron_signatures import poc5_explain_neurons
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.lines import read_entries

CHOSEN = [(layer, neuron) for layer in range(2) for neuron in (0, 1, 2, 3, 6)]
KEY = "sk-canary-77aa/b+c"


def make_run(path: Path, **settings: Any) -> Path:
    """Ten neurons, twenty poles; most negative poles are nearly silent."""
    return make_record_run(path, chosen=CHOSEN, n_documents=80, n_sample=60, **settings)


def explain(run_dir: Path, *flags: str) -> int:
    return poc5_explain_neurons.main(["--run_dir", str(run_dir), "--quiet", *flags])


def ask(run_dir: Path, base_url: str, *flags: str) -> int:
    """Explain by the server at `base_url`, without the user's cache. `MODEL` has a price if the flags give one."""
    return explain(run_dir, "--llm", f"openai:{MODEL}", "--base_url", base_url, "--no_cache", *flags)


def entries(run_dir: Path, set_name: str) -> list[Entry]:
    return list(read_entries(run_dir, set_name))


def explanations(run_dir: Path, set_name: str) -> list[Entry]:
    return [e for e in entries(run_dir, set_name) if e.kind == "explanation"]


def prices(path: Path) -> Path:
    value = {"date": "2026-01", "source": "a test", "models": {MODEL: {"input": 1.0, "output": 10.0}}}
    path.write_text(json.dumps(value))
    return path


def explain_and_die(run_dir: str, base_url: str, after: int, *flags: str) -> int:
    """The command in a process that kills itself when `after` explanations have been stored."""
    from neuron_signatures.runs.explanations.log import ExplanationLog

    ExplanationLog.append = _dying(ExplanationLog.append, after)  # type: ignore[method-assign]
    return ask(Path(run_dir), base_url, *flags)


def rules_and_die(run_dir: str, after: int, *flags: str) -> int:
    from neuron_signatures.runs.explanations.log import ExplanationLog

    ExplanationLog.append = _dying(ExplanationLog.append, after)  # type: ignore[method-assign]
    return explain(Path(run_dir), *flags)


def _dying(append: Callable[..., None], after: int) -> Callable[..., None]:
    left = [after]

    def counted(self: object, entry: Entry) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        append(self, entry)

    return counted
