"""`Records` reads the records of a corpus in a run folder, without a model. It never locks and never writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.names import inside, spans
from neuron_signatures.runs.records import evidence
from neuron_signatures.runs.records.checked_arrays import damaged
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.evidence import Interval, PickedInterval, TokenMean
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta, corpus_digest
from neuron_signatures.runs.records.moments import LayerMoments, NeuronMoments, merged
from neuron_signatures.runs.records.names import (
    NEURONS,
    PARTS,
    POLES,
    RECORDS,
    RECORDS_META,
    SAMPLE,
    SAMPLE_META,
    Part,
    Pole,
)
from neuron_signatures.runs.records.neuron_files import Histogram, NeuronFiles, StrongestLists
from neuron_signatures.runs.records.sample import Sample, SampleFiles
from neuron_signatures.runs.records.stage_meta import AGAIN, check_sizes, read_meta
from neuron_signatures.runs.records.windows import Pick, Window, text_window
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_arrow

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_CONTEXT = 8
"""Tokens on both sides by which contexts are compared in imported records, whose lists keep every window."""
PEAK_TOKENS = 5
"""Tokens at the peaks of the strongest windows that silent windows and other contexts are looked for."""


@dataclass(frozen=True)
class Often:
    """The tokens at which a neuron is most often strongest, the most common first."""

    tokens: tuple[str, ...]
    share: float | None
    """Share of the strongest windows whose peak is the first token; None without windows."""


class Records:
    """The records of a run. Opening reads the stage records; everything else is read when it is asked for.

    Methods that take `parts` use the documents of these parts only. Unknown layers and neurons raise `UsageError`,
    damaged files `BadRunError` with the file and the reason. Not thread-safe.
    """

    def __init__(self, run_dir: Path, meta: RecordsMeta, corpus: Corpus, sample_meta: SampleMeta | None) -> None:
        self.path = run_dir
        self.meta = meta
        self.corpus = corpus
        self.sample_meta = sample_meta
        """None if only all neurons' lists have been made, not the sample of chosen neurons."""
        self.layers = tuple(meta.layers)
        self.d_mlp = meta.d_mlp
        self._rows = {layer: row for row, layer in enumerate(meta.layers)}
        self._files = NeuronFiles(run_dir, meta, corpus)
        self._chosen = (
            None
            if sample_meta is None
            else SampleFiles(
                run_dir, sample_meta, corpus, [layer for layer in meta.layers if str(layer) in meta.left_out]
            )
        )

    @classmethod
    def open(cls, run: Run | Path | str) -> Records:
        """The records of a run, or of the run in a folder.

        Raises `UsageError` if it has none, `BadRunError` if they are incomplete or damaged.
        """
        run_dir = run.path if isinstance(run, Run) else Path(run)
        meta = read_meta(run_dir, RECORDS_META, RecordsMeta)
        _check_layers(run_dir, meta)
        check_sizes(run_dir, meta)
        sample_meta = None
        if inside(run_dir, f"{RECORDS}/{SAMPLE_META}").exists():
            sample_meta = read_meta(run_dir, SAMPLE_META, SampleMeta)
            check_sizes(run_dir, sample_meta)
        corpus = _open_corpus(run_dir)
        try:
            _check_same_corpus(run_dir, corpus, meta, sample_meta)
        except BaseException:
            corpus.close()
            raise
        return cls(run_dir, meta, corpus, sample_meta)

    @staticmethod
    def exist(run_dir: Path) -> bool:
        """Whether the run holds finished records of all neurons."""
        return (run_dir / RECORDS / RECORDS_META).is_file()

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.corpus.close()
        self._files.close()
        if self._chosen is not None:
            self._chosen.close()

    def check(self) -> None:
        """Read everything, and raise `BadRunError` for the first value that cannot be."""
        for row, layer in enumerate(self.layers):
            self._files.check_layer(row)
            for neuron in range(self.d_mlp):
                for pole in POLES:
                    self.often(layer, neuron, pole)
        if self._chosen is not None:
            if unknown := [(layer, n) for layer, n in self._chosen.neurons if not self.holds(layer, n)]:
                raise damaged(self.path / RECORDS / SAMPLE, f"L{unknown[0][0]}N{unknown[0][1]} is not recorded")
            self._chosen.check()

    def holds(self, layer: int, neuron: int) -> bool:
        """Whether this neuron is recorded."""
        return layer in self._rows and 0 <= neuron < self.d_mlp

    def sampled(self, layer: int, neuron: int) -> bool:
        """Whether this neuron is one of the chosen, whose activations are stored."""
        return self._chosen is not None and (layer, neuron) in self._chosen.neurons

    @property
    def sampled_neurons(self) -> list[tuple[int, int]]:
        return [] if self._chosen is None else list(self._chosen.neurons)

    def strongest(
        self, layer: int, neuron: int, pole: Pole, *, parts: Sequence[Part] = PARTS, k: int | None = None,
        rows: bool = True,
    ) -> list[Window]:  # fmt: skip
        """The strongest windows of a pole over the parts together, strongest first, ties by window.

        At most `k`, and never more than the `top_k` that each part keeps: further ones would not be complete. With
        `rows`, `acts` are filled where they are stored.
        """
        return [text_window(self.corpus, p) for p in self._strongest(layer, neuron, pole, parts, k, rows=rows)]

    def strongest_lists(self, layers: Sequence[int], part: Part, *, k: int | None = None) -> StrongestLists:
        """The first `k` windows (None: all that are kept) of both poles of every neuron of these layers, in order."""
        most = self.meta.top_k if k is None else k
        found = [self._files.lists(self._row(layer, 0), part, most) for layer in layers]
        return StrongestLists(
            *(np.concatenate([getattr(lists, key) for lists in found]) for key in ("window", "pos", "value"))
        )

    def moments(self, layer: int, neuron: int, *, parts: Sequence[Part] = PARTS) -> NeuronMoments:
        """Moments over the positions that count."""
        return merged(self._files.neuron_moments(self._row(layer, neuron), neuron, parts)).neuron(0)

    def layer_moments(self, layer: int, *, parts: Sequence[Part] = PARTS) -> LayerMoments:
        """As `moments`, of all neurons of a layer; NaN where undefined."""
        return merged(self._files.central_moments(self._row(layer), parts))

    def histogram(self, layer: int, neuron: int, *, parts: Sequence[Part] = PARTS) -> Histogram:
        """Counts over a fixed share of the windows (`meta.histogram_share`)."""
        return self._files.histogram(self._row(layer, neuron), neuron, parts)

    def sample(self, layer: int, neuron: int, *, parts: Sequence[Part] = PARTS) -> Sample:
        """All activations in the sampled windows. Raises `UsageError` if the neuron is not one of the chosen."""
        self._row(layer, neuron)  # refuses what is not recorded
        if self._chosen is None or (layer, neuron) not in self._chosen.neurons:
            next_step = "Choose it with `poc4_extract_records --neurons`, or view one of the chosen neurons"
            raise UsageError(f"L{layer}N{neuron} is not in the sample", where=str(self.path), next_step=next_step)
        return self._chosen.of(self._chosen.neurons[layer, neuron], parts)

    def lookup(self, layer: int, neuron: int, *, parts: Sequence[Part] = PARTS, min_count: int = 2) -> list[TokenMean]:
        """The mean activation of each token that the sample has at least `min_count` times, the largest mean first."""
        rows = evidence.lookup(self.sample(layer, neuron, parts=parts), min_count=min_count)
        strings = self.corpus.strings([r[0] for r in rows])
        return [TokenMean(r[0], token, *r[1:]) for r, token in zip(rows, strings, strict=True)]

    def random_windows(
        self, layer: int, neuron: int, n: int, *, parts: Sequence[Part] = PARTS, seed: int
    ) -> list[Window]:
        """n windows of the sample, in random order."""
        return self._texts(evidence.at_random(self.sample(layer, neuron, parts=parts), n, seed))

    def by_interval(
        self, layer: int, neuron: int, pole: Pole, *, n_intervals: int, per_interval: int,
        parts: Sequence[Part] = PARTS, seed: int,
    ) -> list[Interval]:  # fmt: skip
        """Windows by their peak of this pole, in intervals of equal width between 0 and the largest peak.

        The strongest interval comes first; of each, `per_interval` windows at random. Candidates are the sample and
        the strongest windows whose rows are stored. There are no intervals if no window has a peak of this pole's sign.
        """
        sample = self.sample(layer, neuron, parts=parts)
        rows = [p for p in self._strongest(layer, neuron, pole, parts, None, rows=True) if p.acts is not None]
        sign = _SIGN[pole]
        return self._intervals(
            evidence.by_interval(sample, rows, sign, n_intervals=n_intervals, per_interval=per_interval, seed=seed)
        )

    def by_quantile(
        self, layer: int, neuron: int, *, n_quantiles: int, per_quantile: int, parts: Sequence[Part] = PARTS,
        seed: int,
    ) -> list[Interval]:  # fmt: skip
        """Windows of the sample by their largest activation, in groups of equal size, the lowest group first."""
        sample = self.sample(layer, neuron, parts=parts)
        return self._intervals(
            evidence.by_quantile(sample, n_quantiles=n_quantiles, per_quantile=per_quantile, seed=seed)
        )

    def hard_negatives(
        self, layer: int, neuron: int, pole: Pole, n: int, *, parts: Sequence[Part] = PARTS
    ) -> list[Window]:
        """Windows of the sample with a token at which the strongest windows peak, and nearly no activation there.

        Nearly none: at most a tenth of the largest. `pos` is that token. Windows that are silent everywhere come
        first, then the more common tokens, then the smaller activations.
        """
        sample = self.sample(layer, neuron, parts=parts)
        strongest = self._strongest(layer, neuron, pole, parts, None, rows=False)
        if not strongest:
            return []
        tokens = self._peak_tokens(strongest)
        largest = strongest[0].value or 0.0
        return self._texts(evidence.hard_negatives(sample, tokens, largest=largest, sign=_SIGN[pole], n=n))

    def out_of_context(
        self, layer: int, neuron: int, pole: Pole, n: int, *, parts: Sequence[Part] = PARTS
    ) -> list[Window]:
        """Windows of the sample with a token at which the strongest windows peak, in another context.

        `pos` is that token, at any activation. Neither the windows nor the contexts are those of the strongest windows.
        """
        sample = self.sample(layer, neuron, parts=parts)
        strongest = self._strongest(layer, neuron, pole, parts, None, rows=False)
        size = self.meta.context or DEFAULT_CONTEXT
        contexts = {evidence.context_of(self.corpus.token_ids(p.window), p.pos or 0, size) for p in strongest}
        picks = evidence.out_of_context(
            sample, self._peak_tokens(strongest), strongest={p.window for p in strongest}, contexts=contexts,
            context=size, n=n,
        )  # fmt: skip
        return self._texts(picks)

    def neurons(self) -> pa.Table:
        """`neurons.parquet`: one row per recorded neuron, by layer and neuron. Text columns are dictionaries."""
        return self._neurons

    def often(self, layer: int, neuron: int, pole: Pole) -> Often:
        """The tokens at which the neuron is most often strongest, on the documents of `explain`."""
        row = self._row(layer, neuron) * self.d_mlp + neuron
        name = "often_pos" if pole == "+" else "often_neg"
        found = self._neurons.slice(row, 1)
        text, share = (found[column][0].as_py() for column in (name, f"{name}_share"))
        try:
            tokens = tuple(json.loads(text)) if text else ()
        except (ValueError, TypeError) as e:
            raise damaged(self._table_path, f"{name} of L{layer}N{neuron} is not a JSON list") from e
        if not all(isinstance(t, str) for t in tokens):
            raise damaged(self._table_path, f"{name} of L{layer}N{neuron} is not a list of texts")
        return Often(tokens, share)

    @cached_property
    def _neurons(self) -> pa.Table:
        import pyarrow as pa

        table = read_arrow(self.path, NEURONS)
        try:
            table.validate(full=True)  # a changed file can have texts that are not in its dictionary
        except pa.ArrowException as e:
            raise damaged(self._table_path, f"cannot be read as a Parquet table ({e})") from e
        if table.num_rows != len(self.layers) * self.d_mlp:
            what = f"has {table.num_rows} rows for {self.d_mlp} neurons of {len(self.layers)} layers"
            raise damaged(self._table_path, what)
        layers = np.repeat(np.array(self.layers), self.d_mlp)
        neurons = np.tile(np.arange(self.d_mlp), len(self.layers))
        rows = ("layer", layers), ("neuron", neurons)
        if any(c not in table.column_names for c in ("layer", "neuron", "often_pos", "often_neg")):
            raise damaged(self._table_path, "lacks a column")
        if any(not np.array_equal(table[name].to_numpy(), wanted) for name, wanted in rows):
            raise damaged(self._table_path, "its rows are not the recorded neurons in order")
        return table

    @property
    def _table_path(self) -> Path:
        return self.path / RECORDS / f"{NEURONS}.parquet"

    def _row(self, layer: int, neuron: int = 0) -> int:
        if layer not in self._rows:
            held = spans(self.layers, between=",")
            raise UsageError(f"layer {layer} is not recorded (layers {held} are)", where=str(self.path))
        if not 0 <= neuron < self.d_mlp:
            raise UsageError(f"neuron {neuron} is not in 0..{self.d_mlp - 1}", where=str(self.path))
        return self._rows[layer]

    def _strongest(
        self, layer: int, neuron: int, pole: Pole, parts: Sequence[Part], k: int | None, *, rows: bool
    ) -> list[Pick]:
        most = self.meta.top_k if k is None else max(0, min(k, self.meta.top_k))
        picks = self._files.strongest(self._row(layer, neuron), neuron, pole, parts, most)
        if not rows or self._chosen is None or (layer, neuron) not in self._chosen.neurons:
            return picks
        found = self._chosen.rows_of(self._chosen.neurons[layer, neuron], [p.window for p in picks])
        return [p._replace(acts=acts) for p, acts in zip(picks, found, strict=True)]

    def _peak_tokens(self, strongest: Sequence[Pick]) -> list[int]:
        tokens = [int(self.corpus.token_ids(p.window)[p.pos or 0]) for p in strongest]
        return evidence.peak_tokens(tokens, PEAK_TOKENS)

    def _texts(self, picks: Sequence[Pick]) -> list[Window]:
        return [text_window(self.corpus, p) for p in picks]

    def _intervals(self, found: Sequence[PickedInterval]) -> list[Interval]:
        return [Interval(i.low, i.high, self._texts(i.picks), i.n) for i in found]


_SIGN = {"+": 1, "-": -1}


def _open_corpus(run_dir: Path) -> Corpus:
    try:
        return Corpus.open(run_dir)
    except UsageError as e:
        raise BadRunError("is missing, and the records need it", where=e.where, next_step=AGAIN) from e


def _check_layers(run_dir: Path, meta: RecordsMeta) -> None:
    if meta.layers != sorted(set(meta.layers)) or meta.layers[-1] >= meta.n_layers:
        what = f"layers {meta.layers[:8]} are not distinct layers of {meta.n_layers}, in order"
        raise BadRunError(what, where=str(run_dir / RECORDS / RECORDS_META), next_step=AGAIN)


def _check_same_corpus(run_dir: Path, corpus: Corpus, meta: RecordsMeta, sample: SampleMeta | None) -> None:
    digest = corpus_digest(corpus.meta)
    for name, record in ((RECORDS_META, meta), (SAMPLE_META, sample)):
        if record is not None and record.corpus_sha256 != digest:
            what = "was made from another corpus than the one in this folder"
            raise BadRunError(what, where=str(run_dir / RECORDS / name), next_step=AGAIN)
