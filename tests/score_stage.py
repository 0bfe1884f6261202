"""Stage 6 as a command on a run with synthetic records and explanations, and what it wrote."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from explanation_runs import Log
from misbehaving_server import MODEL, Act, Asked, answer
from record_runs import make_record_run
from score_runs import write_set

from neuron_signatures import poc6_score_explanations
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.reader import Scores

CHOSEN = [(layer, neuron) for layer in range(2) for neuron in (0, 1, 2, 3, 6)]
THEMES = ("Austin, the city", "the cities Denver, Boston and Austin", "code: def, return, class", "what follows the")
WORDS = "words"
"""The set of explanations."""
JUDGED = f"{WORDS}__detection-{MODEL}"
TIMES = ("seconds", "created_at_utc", "cost")


def make_run(path: Path, *, n_documents: int = 100, n_sample: int = 300, **settings: Any) -> Path:
    """Ten neurons, of nine of which the set `words` has an explanation of the positive pole, and a failed one."""
    make_record_run(path, chosen=CHOSEN, n_documents=n_documents, n_sample=n_sample, **settings)
    write_set(path, words())
    return path


def words(name: str = WORDS) -> Log:
    log = Log(name)
    for i, (layer, neuron) in enumerate(CHOSEN[:-1]):
        log.explain(f"L{layer}N{neuron}+", f"{THEMES[i % len(THEMES)]} of L{layer}N{neuron}")
    log.explain("L0N2-", "code: def, return, class, import")
    log.explain("L1N6+", "", status="refused", reason="I cannot help with that")
    return log


def score(run_dir: Path, *flags: str) -> int:
    """The command with the scorer `rule`, which needs nothing, unless the flags name others."""
    scorers = () if "--scorers" in flags else ("--scorers", "rule")
    return poc6_score_explanations.main(["--run_dir", str(run_dir), "--quiet", *scorers, *flags])


def judge(run_dir: Path, base_url: str, *flags: str) -> int:
    """The command with the scorer `detection` and the server at `base_url`, without the user's cache."""
    model = ("--llm", f"openai:{MODEL}", "--base_url", base_url, "--no_cache")
    return score(run_dir, "--scorers", "detection", *model, *flags)


def verdicts(asked: Asked) -> Act:
    """An answer of a judge: one number per window, which depends on the prompt alone."""
    n = len(re.findall(r"^\d+\. ", asked.body["messages"][-1]["content"], re.MULTILINE))
    return answer(str([(len(asked.prompt) + i) % 2 for i in range(n)]))


def lines(run_dir: Path, name: str) -> dict[LineKey, ScoreLine]:
    """The newest line of each key."""
    index, scores = ScoreIndex(run_dir, name), Scores.open(run_dir)
    index.read_more()
    found = {key: scores.line(name, key) for key in index.keys}
    return {key: line for key, line in found.items() if line is not None}


def without_times(run_dir: Path, name: str) -> dict[LineKey, dict[str, Any]]:
    """What does not depend on when and in how many steps it was made."""
    return {key: line.model_dump(exclude=set(TIMES)) for key, line in lines(run_dir, name).items()}


def table(run_dir: Path, name: str) -> pd.DataFrame:
    return Scores.open(run_dir).table(name)


def assert_same_scores(a: Path, b: Path, name: str) -> None:
    """Lines and tables of two runs are equal, apart from times."""
    assert without_times(a, name) == without_times(b, name)
    pd.testing.assert_frame_equal(table(a, name), table(b, name), check_exact=True)


def score_and_die(run_dir: str, after: int, *flags: str) -> int:
    """The command in a process that kills itself when it would append line number `after`, from 0."""
    from neuron_signatures.runs.scores.log import ScoreLog

    ScoreLog.append = _dying(ScoreLog.append, after)  # type: ignore[method-assign]
    return score(Path(run_dir), *flags)


def judge_and_die(run_dir: str, base_url: str, after: int, *flags: str) -> int:
    from neuron_signatures.runs.scores.log import ScoreLog

    ScoreLog.append = _dying(ScoreLog.append, after)  # type: ignore[method-assign]
    return judge(Path(run_dir), base_url, *flags)


def score_slowly(run_dir: str, seconds: float, *flags: str) -> int:
    """The command, which waits before each line."""
    from neuron_signatures.runs.scores.log import ScoreLog

    append = ScoreLog.append

    def slow(self: ScoreLog, line: ScoreLine) -> None:
        time.sleep(seconds)
        append(self, line)

    ScoreLog.append = slow  # type: ignore[method-assign]
    return score(Path(run_dir), *flags)


def _dying(append: Callable[..., None], after: int) -> Callable[..., None]:
    left = [after]

    def counted(self: object, line: ScoreLine) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        append(self, line)

    return counted
