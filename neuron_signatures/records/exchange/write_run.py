"""Writes the run of imported records: a manifest without prompts, and the files of `records/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_signatures.records.exchange.options import ImportOptions
from neuron_signatures.records.exchange.spool import on_disk
from neuron_signatures.records.exchange.texts import SEED
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.manifest import HOOK_NAME, Manifest
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta, corpus_digest
from neuron_signatures.runs.records.names import PARTS, POLES, RECORDS
from neuron_signatures.runs.records.writing import (
    HistogramArrays,
    MomentArrays,
    RowArrays,
    SampleArrays,
    StrongestArrays,
    write_all_neurons,
    write_chosen,
    write_corpus,
)
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from neuron_signatures.records.exchange.imported import Collected, ImportedNeuron

STAGE = "poc4_extract_records"
UNKNOWN = "imported"
_EXPLAIN = PARTS.index("explain")


def write_imported(found: Collected, options: ImportOptions, created: str) -> None:
    """Write the run. The manifest comes first, because results need a run; the records' own records make them whole."""
    layers = sorted({n.layer for n in found.neurons})
    d_mlp = max(n.neuron for n in found.neurons) + 1
    if options.d_mlp is not None and options.d_mlp < d_mlp:
        raise UsageError(f"the files have neuron {d_mlp - 1}, d_mlp is {options.d_mlp}", where=str(options.source))
    if options.n_layers is not None and options.n_layers <= layers[-1]:
        raise UsageError(f"the files have layer {layers[-1]} of {options.n_layers}", where=str(options.source))
    d_mlp, n_layers = options.d_mlp or d_mlp, options.n_layers or layers[-1] + 1
    manifest = _manifest(options.model_name or found.model_id or UNKNOWN, layers, n_layers, d_mlp, created)
    with explain_os_errors(options.run_dir):
        options.run_dir.mkdir(parents=True, exist_ok=True)
    write_manifest(options.run_dir, manifest)
    with Run.open(options.run_dir) as run, open_results(run, RECORDS) as writer:
        corpus = _corpus_meta(found, options, created)
        write_corpus(writer, found.texts.arrays(), found.texts.documents(), list(found.texts.vocabulary), corpus)
        of_model = {**_identity(manifest), "created_at_utc": created, "corpus_sha256": corpus_digest(corpus)}
        _write_neurons(writer, found, layers, n_layers, d_mlp, of_model)
        _write_rows(writer, found, options, of_model)


def _write_neurons(
    writer: Any, found: Collected, layers: list[int], n_layers: int, d_mlp: int, of_model: dict[str, Any]
) -> None:
    rows, shape = {layer: i for i, layer in enumerate(layers)}, (len(layers), d_mlp)
    top_k = max(1, *(len(n.values) for n in found.neurons))
    axes = (*shape, len(PARTS), len(POLES), top_k)
    lists = StrongestArrays(on_disk(axes, "f4"), on_disk(axes, "i4", fill=-1), on_disk(axes, "i2"))
    moments = MomentArrays(
        np.zeros((*shape, len(PARTS)), np.int64), *(np.zeros((*shape, len(PARTS))) for _ in range(4))
    )
    for n in found.neurons:
        row, part_of = rows[n.layer], found.texts.parts(n.windows)
        for part in range(len(PARTS)):
            of_part = np.flatnonzero(part_of == part)
            at = (row, n.neuron, part, 0, slice(len(of_part)))
            lists.value[at], lists.window[at], lists.pos[at] = n.values[of_part], n.windows[of_part], n.pos[of_part]
        _set_moments(moments, (row, n.neuron, _EXPLAIN), n)
    histograms = HistogramArrays(np.zeros(1, np.float32), np.zeros((*shape, len(PARTS), 2), np.uint32))
    meta = RecordsMeta(
        **of_model, layers=layers, n_layers=n_layers, d_mlp=d_mlp, top_k=top_k, batch_size=None, histogram_share=1,
        context=0, left_out={}, n_shards=1, wall_seconds=0.0, tokens_per_second=None, n_dead=0, n_nearly_dead=0,
    )  # fmt: skip
    write_all_neurons(writer, lists, moments, histograms, _table(found.neurons, layers, d_mlp), meta)


def _set_moments(arrays: MomentArrays, at: tuple[Any, ...], n: ImportedNeuron) -> None:
    """Without mean or variance, none is known: the count stays 0. Without skewness or kurtosis, they are NaN."""
    m = n.moments
    if m.mean is None or m.variance is None:
        return
    arrays.count[at], arrays.mean[at], arrays.m2[at] = n.count, m.mean, m.variance
    arrays.m3[at] = np.nan if m.skewness is None and m.variance else (m.skewness or 0.0) * m.variance**1.5
    arrays.m4[at] = np.nan if m.kurtosis is None and m.variance else (m.kurtosis or 0.0) * m.variance**2


def _write_rows(writer: Any, found: Collected, options: ImportOptions, of_model: dict[str, Any]) -> None:
    neurons = np.array([(n.layer, n.neuron) for n in found.neurons], np.int32)
    starts = np.concatenate([[0], np.cumsum(found.row_length.array())]).astype(np.int64)
    sample = SampleArrays(
        neurons, np.empty(0, np.int32), np.zeros(1, np.int64), np.empty((len(neurons), 0), np.float32)
    )
    rows = RowArrays(
        neurons, np.array(found.first_row, np.int64), found.row_window.array(), starts, found.acts.array(),
        found.sampled.array(),
    )  # fmt: skip
    meta = SampleMeta(
        **of_model, n_neurons=len(neurons), chosen_by=f"imported from {options.format}", n_windows=0, sample_seed=0,
        bytes=4 * found.acts.n, n_rows=found.row_window.n, worst_difference=0.0,
    )  # fmt: skip
    write_chosen(writer, sample, rows, meta)


def _table(neurons: list[ImportedNeuron], layers: list[int], d_mlp: int) -> pd.DataFrame:
    """`neurons.parquet`. Neurons that were not imported have no numbers and no state."""
    import pandas as pd

    found = {(n.layer, n.neuron): n for n in neurons}
    return pd.DataFrame([_table_row(layer, i, found.get((layer, i))) for layer in layers for i in range(d_mlp)]).astype(
        {"mean": float, "std": float, "skewness": float, "kurtosis": float, "max": np.float32, "min": np.float32,
         "rate_above": float, "largest": np.float32, "state": "string", "often_pos": "string", "often_neg": "string",
         "often_pos_share": float, "often_neg_share": float}
    )  # fmt: skip


def _table_row(layer: int, neuron: int, n: ImportedNeuron | None) -> dict[str, Any]:
    m = n.moments if n else None
    return {
        "layer": layer, "neuron": neuron, "count": n.count if n else 0, "mean": m.mean if m else None,
        "std": m.variance**0.5 if m and m.variance is not None else None, "skewness": m.skewness if m else None,
        "kurtosis": m.kurtosis if m else None, "max": float(n.values[0]) if n and len(n.values) else None,
        "min": n.smallest if n else None, "rate_above": n.rate_above if n else None,
        "largest": n.largest if n else None, "state": "alive" if n and n.largest else None,
        "often_pos": n.often if n else "[]", "often_neg": "[]", "often_pos_share": n.often_share if n else None,
        "often_neg_share": None,
    }  # fmt: skip


def _corpus_meta(found: Collected, options: ImportOptions, created: str) -> CorpusMeta:
    texts = found.texts
    return CorpusMeta(
        stage=STAGE, created_at_utc=created, seed=SEED, parts=dict(zip(PARTS, options.parts, strict=True)),
        sequence_length=texts.longest,
        stride=texts.longest, skip_first=options.skip_first, concatenate=False, prepend_bos=False, bos_token_id=None,
        tokenizer_sha256=None, source={"kind": options.format, "paths": [str(options.source)], **options.described},
        source_sha256=texts.source_sha256(), n_documents=texts.n_windows, n_windows=texts.n_windows,
        n_tokens=texts.n_tokens, n_counted=texts.n_counted, counted_by_part=texts.counted_by_part(),
        documents_by_part=texts.n_by_part(), dropped={"too_short": found.n_too_short},
        complete=True, stopped=None,
    )  # fmt: skip


def _manifest(model_name: str, layers: list[int], n_layers: int, d_mlp: int, created: str) -> Manifest:
    """Of a run without prompts, whose model is known by name only."""
    return Manifest(
        format_version=2, created_at_utc=created, stage=STAGE, n_prompts=0, n_tokens=0, n_layers=n_layers,
        layers=layers, d_mlp=d_mlp, hook_name=HOOK_NAME, backend=None, model_name=model_name, model_revision=None,
        weights_fingerprint=None, architecture="not recorded",
        tokenizer_sha256=None, attn_implementation="not recorded", quantization="not recorded",
        trust_remote_code=False, run_device="not recorded", device_name="not recorded", model_dtype="fp32",
        save_dtype="fp32", prepend_bos=False, bos_token_id=None, bos_policy="not recorded", seed=None,
        activations_file=None, files=[], versions={}, git_revision=None, flags_given=[], flags_resolved={},
        wall_seconds=0.0, host="not recorded", failed_prompts=[], prompts=[],
    )  # fmt: skip


def _identity(m: Manifest) -> dict[str, Any]:
    names = "model_name", "model_revision", "weights_fingerprint", "model_dtype", "device_name", "attn_implementation"
    return {"stage": STAGE, **{name: getattr(m, name) for name in names}}
