"""What a neuron does to the output: the tokens that its weights promote, and changes that stage 3 measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import EffectRecord, SteerRecord
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.result_records import read_record
from neuron_signatures.scoring.texts import SIGN
from neuron_signatures.views.columns import rows_of_neuron
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.writes import Written, writes_of

_COLUMNS = ("layer", "neuron", "pole", "effect", "act", "value", "logprob", "probability", "p")


class Writes(NamedTuple):
    """The tokens that the pole promotes and suppresses, the strongest first; scores are positive on both sides."""

    promotes: tuple[Written, ...]
    suppresses: tuple[Written, ...]


class MeasuredChange(NamedTuple):
    """What happens to the prediction of one prompt when the neuron alone is changed."""

    prompt: str
    """Raw."""
    token: str
    """The token whose prediction was measured; raw."""
    before: float
    after: float
    """Activation of the pole: the neuron is raised if it becomes larger, lowered if smaller."""
    effect: float
    """Change of the token's logit, or of the function that was asked for."""
    probability: float | None
    """Change of the token's probability."""
    p: float | None
    """Against random neurons of the layer; None where it was not tested."""


class SteeredText(NamedTuple):
    """What the model writes after a prompt when the neuron alone is raised or lowered by a fixed amount."""

    prompt: str
    amount: float
    """In the direction of the pole; 0 is the unchanged model."""
    text: str


def writes(run_dir: Path, at: NeuronPole) -> Writes | None:
    """From the weights (stage 2, `--mode write_scores`); None if they have not been computed for this neuron.

    A negative activation promotes what the neuron's weights suppress.
    """
    found = writes_of(run_dir, NeuronAt(at.layer, at.neuron))
    if found is None:
        return None
    up, down = _strengths(found.promotes, 1), _strengths(found.suppresses, -1)
    return Writes(up, down) if at.pole == "+" else Writes(down, up)


def measured_changes(run_dir: Path, at: NeuronPole) -> list[MeasuredChange]:
    """The effects of this neuron alone in the run's interventions, largest |effect| first.

    Those in which neither the old nor the new activation has the sign of the pole are of the other pole.
    """
    found = [change for stem in _stems(run_dir, "effect") for change in _changes(run_dir, stem, at)]
    return sorted(found, key=lambda c: (-abs(c.effect), c.prompt, c.token, c.after))


def steered_texts(run_dir: Path, at: NeuronPole) -> list[SteeredText]:
    """Of each steering of this neuron alone: the unchanged text and those of the largest amounts that are not broken.

    Steerings that change no text are left out.
    """
    name, found = f"L{at.layer}N{at.neuron}", []
    for stem in _stems(run_dir, "steer"):
        record = read_record(run_dir, f"{stem}.json", SteerRecord)
        if record.what in (name, f"{name}-"):  # of the latter, a positive amount makes the activation smaller
            found += _texts(record, SIGN[at.pole] * (-1 if record.what.endswith("-") else 1))
    return found


def _strengths(written: list[Written], sign: int) -> tuple[Written, ...]:
    return tuple(w._replace(score=sign * w.score) for w in written if sign * w.score > 0)


def _stems(run_dir: Path, mode: str) -> list[str]:
    if not inside(run_dir, "interventions").is_dir():
        return []
    return sorted(s for s in results.list_interventions(run_dir) if s.partition("_")[0] == mode)


def _changes(run_dir: Path, stem: str, at: NeuronPole) -> list[MeasuredChange]:
    sign = SIGN[at.pole]
    rows = [r for r in _rows(run_dir, stem, at) if max(sign * r["act"], sign * r["value"]) > 0]
    if not rows:
        return []
    record = read_record(run_dir, f"{stem}.json", EffectRecord)
    return [
        MeasuredChange(
            record.prompt.text, record.target.token.token, sign * r["act"], sign * r["value"], r["effect"],
            _finite(r["probability"]), _finite(r["p"]),
        )
        for r in rows
    ]  # fmt: skip


def _rows(run_dir: Path, stem: str, at: NeuronPole) -> list[dict[str, Any]]:
    try:
        rows = rows_of_neuron(run_dir, stem, _COLUMNS, NeuronAt(at.layer, at.neuron))
    except UsageError:  # no table, as of an effect without single neurons
        return []
    needed = ("act", "value", "effect")
    return [r for r in rows if (r["pole"] or at.pole) == at.pole and all(_finite(r[k]) is not None for k in needed)]


def _texts(record: SteerRecord, sign: int) -> list[SteeredText]:
    low = -math.inf if record.breaks_below is None else record.breaks_below
    high = math.inf if record.breaks_above is None else record.breaks_above
    whole = [d for d in record.doses if d.text and low < d.alpha < high]
    start = next((d for d in whole if d.alpha == 0), None)
    if start is None:
        return []
    ends = [d for d in {d.alpha: d for d in (whole[0], whole[-1])}.values() if d.alpha and d.text != start.text]
    return [SteeredText(record.prompt.text, sign * d.alpha, d.text) for d in (start, *ends)] if ends else []


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
