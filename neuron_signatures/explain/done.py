"""What a set has of the poles that are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.explain.method import Method
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.done import Done, Key, done_keys
from neuron_signatures.runs.explanations.meta import read_set_meta
from neuron_signatures.runs.records.names import NeuronPole


class SetDone:
    """The state of a set when a command began."""

    def __init__(self, run_dir: Path, set_name: str, method: Method, *, retry_failed: bool) -> None:
        self.done: Done = done_keys(run_dir, set_name)
        self.left_out = {} if retry_failed else _left_out(run_dir, set_name)
        """Names of the poles with too little evidence, by the reason, if the set is finished; tried again with
        `retry_failed`, because there may be more evidence by now (such as write scores)."""
        self._method, self._retry_failed = method, retry_failed

    def pending(self, poles: Sequence[NeuronPole]) -> list[NeuronPole]:
        """The poles of which something is missing, in their order; locked ones are never missing."""
        left_out = {name for names in self.left_out.values() for name in names}
        return [at for at in poles if at not in self.done.locked and at.label not in left_out and not self._has_all(at)]

    def locked(self, poles: Sequence[NeuronPole]) -> int:
        return sum(at in self.done.locked for at in poles)

    def _has_all(self, at: NeuronPole) -> bool:
        """Whether nothing of a pole is missing. The number of its modes is only known when they are looked for, so with
        modes nothing is known here."""
        m = self._method
        if m.modes > 1:
            return False
        samples = [Key(*at, None, i, 0) for i in range(m.n_samples)]
        if not self._have(samples):
            return False
        n_ok = sum(self.done.status(key) == "ok" for key in samples)
        if not n_ok:
            return True
        if n_ok > 1 and (at, None, 0) not in self.done.choices:
            return False
        return all(self._has_revision(at, number) for number in range(1, m.revise + 1))

    def _has_revision(self, at: NeuronPole, number: int) -> bool:
        keys = [key for sample in range(self._method.n_samples) if (key := Key(*at, None, sample, number)) in self.done]
        if not self._have(keys) or not keys:
            return False
        return self.done.status(keys[0]) != "ok" or (at, None, number) in self.done.choices

    def _have(self, keys: Sequence[Key]) -> bool:
        return all(key in self.done and not (self._retry_failed and self.done.status(key) != "ok") for key in keys)


def _left_out(run_dir: Path, set_name: str) -> dict[str, list[str]]:
    try:
        return dict(read_set_meta(run_dir, set_name).skipped)
    except UsageError:  # not finished
        return {}


def statuses_of_set(run_dir: Path, set_name: str) -> dict[str, int]:
    """Explanations by status; failed requests that were sent again count once."""
    done = done_keys(run_dir, set_name)
    return dict(Counter(done.status(key) for key in done))
