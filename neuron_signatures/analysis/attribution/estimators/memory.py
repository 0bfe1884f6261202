"""Names the metric if memory runs out while it is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.models.batching import memory_faults, work_on

Rest = ParamSpec("Rest")
Scores = TypeVar("Scores")
Estimator = Callable[Concatenate[Problem, Rest], Scores]


def with_memory_faults(metric: str) -> Callable[[Estimator[Rest, Scores]], Estimator[Rest, Scores]]:
    """Decorator of an estimator: `EnvironmentProblem` with the metric's name if memory runs out."""

    def decorate(estimator: Estimator[Rest, Scores]) -> Estimator[Rest, Scores]:
        @functools.wraps(estimator)
        def wrapped(problem: Problem, *args: Rest.args, **kwargs: Rest.kwargs) -> Scores:
            with memory_faults(work_on(problem.hf, metric, problem.token_ids)):
                return estimator(problem, *args, **kwargs)

        return wrapped

    return decorate
