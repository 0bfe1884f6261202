"""File names of the results of `--mode steer`, by everything that differs from the defaults, and its settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from neuron_signatures.interventions import names
from neuron_signatures.interventions.side_effects.measure import DEFAULT_SETS
from neuron_signatures.interventions.steer.request import (
    DEFAULT_ALPHAS,
    DEFAULT_BREAK_FACTOR,
    DEFAULT_DIRECTION_ALPHAS,
    DEFAULT_NEW_TOKENS,
    NeuronDirection,
    Neurons,
    SteerRequest,
)
from neuron_signatures.interventions.steer.stimulus import neuron_text
from neuron_signatures.runs.input_files import SMALL_BYTES
from neuron_signatures.runs.names import safe_id, spans
from neuron_signatures.runs.opening import read_regular
from neuron_signatures.runs.versions import versions

_NAMED_ALPHAS = 9


def stem_of(request: SteerRequest) -> str:
    """The stem of the files: the prompt, what is steered, the target, and every setting that is not the default."""
    r = request
    return names.stem_of("steer", r.checked.prompt.probe_id, _what(r), r.resolved.target, _parts(r))


def settings_of(request: SteerRequest) -> dict[str, Any]:
    """The settings of the stage record, which the finished doses of a stopped command must share."""
    r, g, c = request, request.generation, request.controls
    records = r.steered.records if isinstance(r.steered, Neurons) else None
    return {
        "prompt_id": r.checked.prompt.probe_id,
        "target": asdict(r.resolved.target),
        "positions": list(r.positions),
        **_steered(r),
        "unit": r.steered.unit,
        "reference_records": asdict(records.source) if records else None,
        "alphas": list(r.doses),
        "generate_at": g.at,
        "max_new_tokens": g.max_new_tokens,
        "temperature": g.temperature,
        "generation_seed": g.seed,
        "n_random": c.n_random,
        "seed": c.seed,
        "neutral": c.neutral and c.neutral.record(),
        "n_sets": c.n_sets,
        "batch": c.batch,
        "break_factor": r.break_factor,
    }


def identity_of(request: SteerRequest) -> dict[str, Any]:
    """What a dose depends on: the run, the model's dtype and the versions of libraries too."""
    return {
        "run": request.checked.run,
        "dtype": request.checked.model.spec.dtype,
        "settings": settings_of(request),
        "versions": versions(),
    }


def _parts(r: SteerRequest) -> list[str]:
    g, c = r.generation, r.controls
    is_neurons = isinstance(r.steered, Neurons)
    default_alphas = DEFAULT_ALPHAS if is_neurons else DEFAULT_DIRECTION_ALPHAS
    neutral = "no-neutral" if c.neutral is None else c.neutral.label
    parts = [
        "unit1" if r.steered.unit == "1" else "",
        f"ref-{r.steered.records.source.label}" if isinstance(r.steered, Neurons) and r.steered.records else "",
        "" if r.positions == (r.resolved.target.pos,) else "at" + spans(r.positions, to="-", between="."),
        "" if r.doses == default_alphas else "alphas" + _alphas(r.doses),
        "prompt-only" if g.at == "prompt" else "",
        f"new{g.max_new_tokens}" if g.max_new_tokens != DEFAULT_NEW_TOKENS else "",
        f"temp{g.temperature:g}-{g.seed}" if g.temperature else "",
        f"random{c.n_random}" if c.n_random != names.DEFAULT_N_RANDOM else "",
        f"seed{c.seed}" if c.seed != names.DEFAULT_SEED else "",
        neutral,
        f"sets{c.n_sets}" if c.n_sets != DEFAULT_SETS else "",
        f"break{r.break_factor:g}" if r.break_factor != DEFAULT_BREAK_FACTOR else "",
        r.checked.model.spec.dtype if r.checked.model.spec.dtype != "fp32" else "",
        r.resolved.target.function if r.resolved.target.function != "pre_cap_logit" else "",
    ]
    return [p for p in parts if p]


def _what(r: SteerRequest) -> str:
    if isinstance(r.steered, NeuronDirection):
        return f"direction-{names.label_of([neuron_text(r.steered.neuron)])}"
    if isinstance(r.steered, Neurons):
        return names.label_of([neuron_text(n) for n in r.steered.neurons])
    name = safe_id(r.steered.path.name)[:40]
    return f"direction-{name}-layer{r.steered.layer}-{_file_digest(r)[:8]}"


def _steered(r: SteerRequest) -> dict[str, Any]:
    if isinstance(r.steered, Neurons):
        return {"neurons": [neuron_text(n) for n in r.steered.neurons]}
    if isinstance(r.steered, NeuronDirection):
        return {"direction": neuron_text(r.steered.neuron), "layer": r.steered.neuron.layer}
    return {"direction_file": str(r.steered.path), "sha256": _file_digest(r), "layer": r.steered.layer}


def _alphas(doses: tuple[float, ...]) -> str:
    texts = [f"{a:g}" for a in doses]
    return _digest(texts)[:8] if len(texts) > _NAMED_ALPHAS else ".".join(t.replace(".", "p") for t in texts)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()


def _file_digest(r: SteerRequest) -> str:
    assert not isinstance(r.steered, Neurons | NeuronDirection)
    return hashlib.sha256(read_regular(r.steered.path, max_bytes=SMALL_BYTES)).hexdigest()
