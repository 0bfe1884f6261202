"""The write scores of every neuron of a model, from its weights, layer by layer and in blocks of neurons."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from neuron_signatures.analysis.writes.finished_layers import FinishedLayers, LayerShape, LayerWrites
from neuron_signatures.analysis.writes.forecast import WritesForecast
from neuron_signatures.analysis.writes.scores import VOCAB_BLOCK, NeuronScores, mean_row, neuron_scores
from neuron_signatures.models.batching import BatchSize, Work, run_in_halves
from neuron_signatures.models.capture import MlpShape, mlp_shape
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt, ModelOverrides, check_prompt
from neuron_signatures.models.write_path import WritePath, write_path
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import WRITES, ResultsWriter, partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import MAX_VALUES
from neuron_signatures.runs.versions import versions

log = logging.getLogger(__name__)

DEFAULT_TOP: Final = 10
NEURON_BLOCK: Final = 1024
OTHER_COLUMNS: Final = 6
"""Columns of the table besides ids and scores."""


@dataclass(frozen=True)
class WritesConfig:
    """`top` tokens in each direction; `layers` of the model, None for all."""

    top: int = DEFAULT_TOP
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WritesResult:
    checked: CheckedPrompt
    config: WritesConfig
    shape: LayerShape
    layers: dict[int, LayerWrites]
    finished: FinishedLayers
    """To be removed when the result is written."""


def checked_model(run: Run, overrides: ModelOverrides) -> CheckedPrompt:
    """The model of the run, checked with the shortest prompt. Raises as `check_prompt`."""
    shortest = min(range(len(run.prompts)), key=lambda i: run.prompts[i].seq_len)
    return check_prompt(run, shortest, overrides)


def analyze_writes(
    checked: CheckedPrompt, config: WritesConfig, *, writer: ResultsWriter, progress: ProgressOf
) -> WritesResult:
    """The write scores of every neuron of the chosen layers.

    Finished layers are stored, and a stopped command with the same settings goes on with the others. If memory runs
    out, blocks of neurons are halved.
    """
    hf = checked.model.hf
    stage = _Stage(write_path(hf, list(checked.prompt.token_ids)), mlp_shape(hf), config)
    layers = tuple(range(stage.mlp.n_layers)) if config.layers is None else config.layers
    _refuse_large(stage.shape, len(layers))
    partial = Partial(writer, partial_name(WRITES), _settings(checked, stage.shape))
    finished = FinishedLayers(partial)
    finished.resume(layers, stage.shape)
    todo = [layer for layer in layers if layer not in finished.done]
    if todo:
        weights = sum(p.numel() * p.element_size() for p in hf.parameters())
        log.info("%s", stage.forecast(todo, weights).line())
    with progress("neurons", len(layers) * stage.mlp.d_mlp) as bar, finished.save_on_error():
        bar.skip(len(finished.done) * stage.mlp.d_mlp)
        for layer in todo:
            finished.add(layer, stage.layer(layer, bar.advance))
    return WritesResult(
        checked, replace(config, layers=layers), stage.shape, {i: finished.done[i] for i in layers}, finished
    )


def _refuse_large(shape: LayerShape, n_layers: int) -> None:
    """Raise `UsageError` for a table with more values than its readers accept."""
    most = (MAX_VALUES // (n_layers * shape.n_neurons) - OTHER_COLUMNS) // 4
    if shape.top > most:
        what = f"a table of {n_layers} layers with {shape.top} tokens per neuron cannot be read"
        raise UsageError(what, where="--write_scores", next_step=f"Use at most {most}, or fewer --layers")


class _Stage:
    """Computes layers; a block of neurons that was halved stays halved."""

    def __init__(self, path: WritePath, mlp: MlpShape, config: WritesConfig) -> None:
        self.path, self.mlp = path, mlp
        vocab = len(path.head.weight)
        self.shape = LayerShape(mlp.d_mlp, min(config.top, vocab), vocab)
        self._size = BatchSize(NEURON_BLOCK)
        self._mean = mean_row(path.head.weight)

    def layer(self, layer: int, advance: Callable[[int], None]) -> LayerWrites:
        """The write scores of one layer; `advance` is called with the number of neurons of each block."""
        rows = self.path.rows(layer)

        def scores(neurons: Sequence[int]) -> NeuronScores:
            directions = self.path.directions(layer, rows[neurons[0] : neurons[-1] + 1])
            return neuron_scores(directions, self.path.head.weight, self._mean, top=self.shape.top)

        parts = []
        for part in run_in_halves(scores, range(len(rows)), size=self._size, unit="neurons", work=self._work):
            parts.append(_arrays(part))
            advance(len(part.moments))
        ids, values, moments = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return LayerWrites(ids, values, moments)

    def forecast(self, layers: Sequence[int], weights: int) -> WritesForecast:
        """Measures the time of one block."""
        head = self.path.head.weight
        rows, some = self.path.rows(layers[0]), head[:VOCAB_BLOCK]
        device = str(head.device)

        def timed(neurons: Sequence[int]) -> tuple[int, float]:
            seconds = []
            for _ in range(2):  # the first also prepares kernels
                start = time.perf_counter()
                directions = self.path.directions(layers[0], rows[neurons[0] : neurons[-1] + 1])
                neuron_scores(directions, some, self._mean, top=self.shape.top).moments.cpu()  # waits for the device
                seconds.append(time.perf_counter() - start)
            return len(neurons), min(seconds) * VOCAB_BLOCK / len(some)

        first = range(min(len(rows), self._size.most))
        block, seconds = next(run_in_halves(timed, first, size=self._size, unit="neurons", work=self._work))
        n_neurons = len(layers) * self.mlp.d_mlp
        return WritesForecast(
            n_neurons, self.shape.vocab, head.shape[1], self.mlp.d_mlp, block, seconds, weights, device
        )

    def _work(self, _: int) -> Work:
        where = f"device {self.path.head.weight.device}"
        return Work("the write scores of one neuron", where, "another --device, or --model_dtype bf16")


def _arrays(found: NeuronScores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kinds = (torch.int32, torch.float32, torch.float32)
    ids, scores, moments = (
        tensor.to("cpu", kind).numpy() for tensor, kind in zip((*found.extremes, found.moments), kinds, strict=True)
    )
    return ids, scores, moments


def _settings(checked: CheckedPrompt, shape: LayerShape) -> dict[str, Any]:
    """What the scores of a layer depend on."""
    return {"run": checked.run, "dtype": checked.model.spec.dtype, "top": shape.top, "versions": versions()}
