"""OpenAI's explanations with their scores: `<layer>/<neuron>.jsonl`, one `NeuronSimulationResults` per line.

Keys, as in the public files and code of "Language models can explain neurons in language models" (Bills et al. 2023); a
key in brackets is the older spelling of the one before it, and either is read. The newer ones are written. Each object
may name its class in `dataclass_name`.

    NeuronSimulationResults   neuron_id, scored_explanations [scored_explanation_or_baseline_list]
    NeuronId                  layer_index, neuron_index
    ScoredExplanation         explanation [explanation_or_baseline], scored_simulation
    ScoredSimulation          scored_sequence_simulations, ev_correlation_score, rsquared_score,
                              absolute_dev_explained_score
    ScoredSequenceSimulation  sequence_simulation [simulation], true_activations, ev_correlation_score, rsquared_score,
                              absolute_dev_explained_score
    SequenceSimulation        tokens, expected_activations, activation_scale [unit], distribution_values,
                              distribution_probabilities, uncalibrated_simulation

A file may also hold single `ScoredExplanation` objects; then the neuron is that of its name, `<layer>/<neuron>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError

from neuron_signatures.explain.exchange.items import Exported, Input, Item, reason, refuse
from neuron_signatures.explain.exchange.reading import files_below, json_lines, json_value
from neuron_signatures.runs.files import explain_os_errors, whole_file

_Number = Annotated[float, Field(strict=False)]
_Score = _Number | None
_Numbers = list[_Number]
_SCORES = ("ev_correlation_score", "rsquared_score", "absolute_dev_explained_score")
_NO_SCORES: dict[str, Any] = {"scored_sequence_simulations": [], **dict.fromkeys(_SCORES)}
_CLASS = "dataclass_name"


class SequenceSimulation(Input):
    tokens: list[str]
    expected_activations: _Numbers
    activation_scale: Annotated[str, Field(validation_alias=AliasChoices("activation_scale", "unit"))]
    distribution_values: list[_Numbers]
    distribution_probabilities: list[_Numbers]
    uncalibrated_simulation: SequenceSimulation | None = None


class ScoredSequenceSimulation(Input):
    sequence_simulation: Annotated[
        SequenceSimulation, Field(validation_alias=AliasChoices("sequence_simulation", "simulation"))
    ]
    true_activations: _Numbers
    ev_correlation_score: _Score
    rsquared_score: _Score = None
    absolute_dev_explained_score: _Score = None


class ScoredSimulation(Input):
    scored_sequence_simulations: list[ScoredSequenceSimulation]
    ev_correlation_score: _Score = None
    rsquared_score: _Score = None
    absolute_dev_explained_score: _Score = None


class ScoredExplanation(Input):
    explanation: Annotated[str, Field(validation_alias=AliasChoices("explanation", "explanation_or_baseline"))]
    scored_simulation: ScoredSimulation


class NeuronId(Input):
    layer_index: Annotated[int, Field(ge=0)]
    neuron_index: Annotated[int, Field(ge=0)]


class NeuronSimulationResults(Input):
    neuron_id: NeuronId
    scored_explanations: Annotated[
        list[ScoredExplanation],
        Field(validation_alias=AliasChoices("scored_explanations", "scored_explanation_or_baseline_list")),
    ]


def read_openai(source: Path) -> Iterator[Item]:
    """The explanations of a file, or of all `.json` and `.jsonl` files in a folder. Raises `UsageError`."""
    for path in files_below(source, (".jsonl", ".json")) if source.is_dir() else [source]:
        values: Iterator[tuple[int | None, Any]] = (
            ((None, value) for value in [json_value(path)]) if path.suffix == ".json" else json_lines(path)
        )
        for number, value in values:
            yield from _items(value, path, number)


def write_openai(out_dir: Path, items: Sequence[Exported], *, with_class_names: bool = False) -> int:
    """Write one file per neuron. Returns the bytes."""
    n_bytes = 0
    by_neuron: dict[tuple[int, int], list[Exported]] = {}
    for item in items:
        by_neuron.setdefault((item.layer, item.neuron), []).append(item)
    for (layer, neuron), of_neuron in by_neuron.items():
        record = {
            "neuron_id": {"layer_index": layer, "neuron_index": neuron},
            "scored_explanations": [
                {"explanation": item.text, "scored_simulation": item.source.get("scored_simulation", _NO_SCORES)}
                for item in of_neuron
            ],
        }
        full = _named(record, "NeuronSimulationResults") if with_class_names else record
        raw = json.dumps(full, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        folder = out_dir / str(layer)
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder, f"{neuron}.jsonl", needed=len(raw)) as f:
            f.write(raw)
        n_bytes += len(raw)
    return n_bytes


def _items(value: Any, path: Path, number: int | None) -> Iterator[Item]:
    is_single = isinstance(value, Mapping) and "neuron_id" not in value and "scored_simulation" in value
    try:
        if is_single:
            results = NeuronSimulationResults(
                neuron_id=_neuron_of(path, number), scored_explanations=[ScoredExplanation.model_validate(value)]
            )
        else:
            results = NeuronSimulationResults.model_validate(value)
    except ValidationError as e:
        refuse(reason(e), path, number)
    at = results.neuron_id
    for scored in results.scored_explanations:
        source = {"scored_simulation": scored.scored_simulation.model_dump()}
        yield Item(at.layer_index, at.neuron_index, scored.explanation, source=source)


def _neuron_of(path: Path, number: int | None) -> NeuronId:
    layer, neuron = path.absolute().parent.name, path.name.partition(".")[0]
    if not (layer + neuron).isdecimal() or not (layer + neuron).isascii() or len(layer + neuron) > 16:
        refuse("names no neuron: it has no neuron_id, and the file is not named <layer>/<neuron>", path, number)
    return NeuronId(layer_index=int(layer), neuron_index=int(neuron))


_CLASS_OF_KEY = {
    "neuron_id": "NeuronId", "scored_explanations": "ScoredExplanation", "scored_simulation": "ScoredSimulation",
    "scored_sequence_simulations": "ScoredSequenceSimulation", "sequence_simulation": "SequenceSimulation",
    "uncalibrated_simulation": "SequenceSimulation",
}  # fmt: skip


def _named(value: Any, name: str) -> Any:
    """The value with `dataclass_name` in each object."""
    if isinstance(value, list):
        return [_named(v, name) for v in value]
    if not isinstance(value, Mapping):
        return value
    fields = {k: _named(v, _CLASS_OF_KEY[k]) if k in _CLASS_OF_KEY else v for k, v in value.items()}
    return {_CLASS: name, **fields}
