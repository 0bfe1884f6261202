"""A run whose scores hold hostile text wherever a log may hold text."""

from __future__ import annotations

from pathlib import Path

from explanation_runs import Log
from explorer import HOSTILE
from record_runs import make_record_run
from score_runs import HEADLINE, about, line, stored_windows, value, write_score_log, write_set

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.line import StoredMistake

EVIL = "".join(HOSTILE[1:])


def hostile_scores(run_dir: Path) -> None:
    """Records of two neurons, their explanations, and two scored sets."""
    make_record_run(run_dir, chosen=[(0, 0), (0, 1)])
    log = Log("evil")
    ids = {at: log.explain(f"{at}+", EVIL) for at in ("L0N0", "L0N1")}
    write_set(run_dir, log)
    with Records.open(run_dir) as records:
        lines = []
        for n in range(2):
            at = NeuronPole(0, n, "+")
            windows = stored_windows(records, at)
            windows[-1] = windows[-1].model_copy(update={"reason": EVIL[:400]})
            mistakes = [StoredMistake(window=windows[0].window, pos=1, predicted=1.0, actual=0.0)]
            scores = {HEADLINE: 0.2 + n, EVIL[:50]: value(None, undefined="<b>EVIL</b>")}
            lines.append(line(at, ids[f"L0N{n}"], scores, windows=windows, mistakes=mistakes))
    write_score_log(run_dir, about("evil", "embedding").model_copy(update={"scorer_model": EVIL[:300]}), lines)
    refused = line(NeuronPole(0, 0, "+"), ids["L0N0"], {}, status="refused", reason=EVIL[:400])
    write_score_log(run_dir, about("evil", "json"), [refused])
