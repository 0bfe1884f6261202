"""Scorers by name. Each is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable

from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.scores.names import SCORERS, Scorer
from neuron_signatures.runs.units import need_neurons
from neuron_signatures.scoring.scorer import ItemScorer
from neuron_signatures.scoring.stage.request import WITHOUT_MODEL
from neuron_signatures.scoring.tools import Tools

_INSTEAD = "Install requirements-real.txt, or give --scorers rule, which needs no model"


def open_scorer(name: Scorer, tools: Tools) -> ItemScorer:
    """The scorer of a name.

    Raises `UsageError` if it needs a language model that is not there, or another one; `EnvironmentProblem` if a model
    cannot be had.

    Raises `UsageError` too for a run of directions if the scorer changes or reads neurons of the model.
    """
    if name in _OF_NEURONS:
        need_neurons(tools.run, f"the scorer {name}")
    if name not in WITHOUT_MODEL and tools.session is None:
        local = "--llm local:NAME" if name in _LOCAL else "--llm openai:MODEL or --llm local:NAME"
        what = f"the scorer {name} asks a language model"
        raise UsageError(what, where="--llm none", next_step=f"Give {local}, or --scorers {','.join(WITHOUT_MODEL)}")
    return _OPEN[name](tools)


def _rule(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.measures.adapter import without_model
    from neuron_signatures.scoring.measures.simulated import SimulatorScorer
    from neuron_signatures.scoring.simulators.rule import RuleSimulator

    return SimulatorScorer(without_model(RuleSimulator()), tools)


def _embedding(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.measures.adapter import without_model
    from neuron_signatures.scoring.measures.simulated import SimulatorScorer
    from neuron_signatures.scoring.simulators.choose import open_simulator

    try:
        simulator = open_simulator("embedding", device=tools.device)
    except EnvironmentProblem as e:
        raise EnvironmentProblem(e.what, where=e.where, next_step=_INSTEAD) from e
    return SimulatorScorer(without_model(simulator), tools)


def _logits(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.measures.simulated import SimulatorScorer
    from neuron_signatures.scoring.simulators.logits import LogitsSimulator

    return SimulatorScorer(LogitsSimulator(tools), tools)


def _top_logprobs(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.measures.simulated import SimulatorScorer
    from neuron_signatures.scoring.simulators.top_logprobs import TopLogprobsSimulator

    return SimulatorScorer(TopLogprobsSimulator(tools), tools)


def _json(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.measures.simulated import SimulatorScorer
    from neuron_signatures.scoring.simulators.json_answers import JsonSimulator

    return SimulatorScorer(JsonSimulator(tools), tools)


def _detection(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.judges.detection import DetectionScorer

    return DetectionScorer(tools)


def _fuzzing(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.judges.fuzzing import FuzzingScorer

    return FuzzingScorer(tools)


def _surprisal(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.judges.surprisal import SurprisalScorer

    return SurprisalScorer(tools)


def _generation(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.outputs.generation import GenerationScorer

    return GenerationScorer(tools)


def _intervention(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.outputs.intervention import InterventionScorer

    return InterventionScorer(tools)


def _fade(tools: Tools) -> ItemScorer:
    from neuron_signatures.scoring.outputs.fade import FadeScorer

    return FadeScorer(tools)


_LOCAL: tuple[Scorer, ...] = ("logits", "surprisal")
"""They need what only a model in this process gives."""
_OF_NEURONS: tuple[Scorer, ...] = ("generation", "intervention", "fade")
"""They run the model of the run again."""
_OPEN: dict[Scorer, Callable[[Tools], ItemScorer]] = {
    "rule": _rule, "embedding": _embedding, "logits": _logits, "top_logprobs": _top_logprobs, "json": _json,
    "detection": _detection, "fuzzing": _fuzzing, "surprisal": _surprisal, "generation": _generation,
    "intervention": _intervention, "fade": _fade,
}  # fmt: skip
assert tuple(_OPEN) == SCORERS
