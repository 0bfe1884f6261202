"""The file of a neuron that public viewers show with a graph: its strongest texts, and the tokens that it writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.runs.circuits.exchange.examples import Example, Examples, LayerNeuron, Source
from neuron_signatures.runs.circuits.exchange.schema import Part
from neuron_signatures.runs.circuits.exchange.texts import shown, sign_of
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.result_records import WritesRecord, read_record
from neuron_signatures.runs.results import WRITES_META
from neuron_signatures.runs.written import every_id, read_token_texts

_DIGITS: Final = 5
_WRITTEN: Final = 10
_NAMES: Final = {
    "records": "of the corpus",
    "prompts": "of the run's prompts",
    "none": "(the run has no activations of this neuron)",
}


class ExampleRecord(Part):
    tokens: list[str]
    tokens_acts_list: list[float]
    train_token_ind: int
    is_repeated_datapoint: bool = False


class Quantile(Part):
    quantile_name: str
    examples: list[ExampleRecord]


class FeatureFile(Part):
    """Activations of the negative pole have their sign turned, because viewers colour from 0 upwards."""

    index: int
    """The neuron's number in its layer."""
    layer: int
    examples_quantiles: list[Quantile]
    top_logits: list[str]
    bottom_logits: list[str]
    act_min: float = 0.0
    act_max: float


class Written(NamedTuple):
    """Raw tokens, strongest first: whose logits a positive activation raises, and lowers."""

    raised: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()


def feature_file(neuron: LayerNeuron, examples: Examples, written: Written) -> FeatureFile:
    """The file's content; texts are as `texts.shown`."""
    poles = ((1, "Strongest", examples.positive), (-1, "Most negative, sign turned,", examples.negative))
    acts = [abs(a) for _, _, found in poles for example in found for a in example.acts]
    return FeatureFile(
        index=neuron.neuron, layer=neuron.layer, act_max=_rounded(max(acts, default=0.0)) or 1.0,
        examples_quantiles=[
            Quantile(
                quantile_name=_quantile_name(name, examples.source, found),
                examples=[_record(e, sign) for e in found],
            )
            for sign, name, found in poles if found or sign > 0
        ],
        top_logits=[shown(t) for t in written.raised], bottom_logits=[shown(t) for t in written.lowered],
    )  # fmt: skip


def written_tokens(run_dir: Path, graph: Graph, neurons: Collection[LayerNeuron]) -> dict[LayerNeuron, Written]:
    """From the run's table of write scores, else from the graph, which has what each node promotes.

    Raises `BadRunError` for a damaged table.
    """
    try:
        record = read_record(run_dir, WRITES_META, WritesRecord)
        found, texts = every_id(run_dir, record.top), read_token_texts(run_dir)
    except UsageError:
        return _of_nodes(graph)
    rows = {LayerNeuron(*at): i for i, at in enumerate(zip(found.layer.tolist(), found.neuron.tolist(), strict=True))}
    return {
        n: Written(*(tuple(texts.text(i) for i in side[:_WRITTEN] if i >= 0) for side in found.ids[rows[n]].tolist()))
        for n in neurons if n in rows
    }  # fmt: skip


def _of_nodes(graph: Graph) -> dict[LayerNeuron, Written]:
    """A node below its reference promotes what a positive activation of its neuron suppresses."""
    found: dict[LayerNeuron, Written] = {}
    for node in graph.nodes:
        if node.kind == "neuron" and node.neuron is not None and node.promotes:
            at = LayerNeuron(node.layer, node.neuron)
            side = "lowered" if sign_of(node) == "-" else "raised"
            found[at] = found.get(at, Written())._replace(**{side: node.promotes})
    return found


def neurons_of(graph: Graph) -> list[LayerNeuron]:
    """The neurons of a graph, each once, in order."""
    found: Iterable[LayerNeuron] = (
        LayerNeuron(n.layer, n.neuron) for n in graph.nodes if n.kind == "neuron" and n.neuron is not None
    )
    return sorted(set(found))


def _quantile_name(pole: str, source: Source, found: Sequence[Example]) -> str:
    only_peaks = "" if all(e.is_whole for e in found) else "; where rows are not stored, only the peak is coloured"
    return f"{pole} {_NAMES[source]}{only_peaks}"


def _record(example: Example, sign: int) -> ExampleRecord:
    return ExampleRecord(
        tokens=[shown(t) for t in example.tokens], tokens_acts_list=[_rounded(sign * a) for a in example.acts],
        train_token_ind=example.peak,
    )  # fmt: skip


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") + 0.0  # -0.0 is 0.0
