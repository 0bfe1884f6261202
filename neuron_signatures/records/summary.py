"""What a command of stage 4 says at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuron_signatures.runs.errors import escape_controls
from neuron_signatures.runs.files import counted, human_bytes, human_seconds
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.sharding.shard import Shard


@dataclass(frozen=True)
class RecordsSummary:
    """The stage records that exist now, and the shard that the command was about."""

    run: str
    corpus: CorpusMeta
    records: RecordsMeta | None = None
    sample: SampleMeta | None = None
    shard: Shard | None = None

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        parts = {"corpus": self.corpus, "records": self.records, "sample": self.sample}
        shard = None if self.shard is None else str(self.shard)
        return {"run": self.run, "shard": shard, **{k: v and v.fields() for k, v in parts.items()}}

    def lines(self) -> list[str]:
        """As text."""
        return [*self._corpus(), *self._records(), *self._sample(), f"run        {escape_controls(self.run)}"]

    def _corpus(self) -> list[str]:
        c = self.corpus
        parts = ", ".join(f"{part} {n:,}" for part, n in c.counted_by_part.items())
        stopped = "" if c.complete else f" (reading stopped: {c.stopped})"
        dropped = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in c.dropped.items() if n)
        return [
            f"corpus     {counted(c.n_documents, 'document')}, {counted(c.n_tokens, 'token')}, "
            f"{counted(c.n_windows, 'window')}{stopped}",
            f"counted    {counted(c.n_counted, 'position')}: {parts}",
            *([f"left out   documents: {dropped}"] if dropped else []),
            *(f"note       {escape_controls(w)}" for w in c.warnings),
        ]

    def _records(self) -> list[str]:
        r = self.records
        if r is None:
            if self.shard is None:
                return ["neurons    not recorded yet"]
            return [f"shard      {self.shard.number} of {self.shard.of} is finished; --merge joins them"]
        n = len(r.layers) * r.d_mlp
        rate = f", {r.tokens_per_second:,.0f} positions/s" if r.tokens_per_second else ""
        return [
            f"neurons    {n:,} in {counted(len(r.layers), 'layer')} in {human_seconds(r.wall_seconds)}{rate}",
            *self._left_out(r.left_out),
            f"dead       {r.n_dead:,} ({r.n_dead / n:.2%})",
            f"nearly so  {r.n_nearly_dead:,} ({r.n_nearly_dead / n:.2%})",
            *self._first_position(r.n_first_position or 0),
        ]

    def _first_position(self, n: int) -> list[str]:
        if not n:
            return []
        more = self.corpus.skip_first + 1
        return [
            f"note       mostly strongest at the first position that counts, as massive activations are: "
            f"{counted(n, 'neuron')}; --skip_first {more} leaves that position out"
        ]

    def _left_out(self, by_layer: dict[str, int]) -> list[str]:
        """Windows with NaN or infinite activations, which nothing of the layer counts."""
        if not by_layer:
            return []
        layers = join_some([f"{n:,} in layer {layer}" for layer, n in by_layer.items()], 4)
        return [f"left out   of {counted(self.corpus.n_windows, 'window')}, as not finite: {layers}"]

    def _sample(self) -> list[str]:
        s = self.sample
        if s is None:
            wanted = self.records is not None and self.shard is None
            return ["kept whole none: choose neurons with --neurons or --from"] if wanted else []
        differs = "" if s.worst_difference is None else f"; second pass differs by at most {s.worst_difference:.1e}"
        return [
            f"kept whole {counted(s.n_neurons, 'neuron')} ({s.chosen_by}) on {counted(s.n_windows, 'sampled window')} "
            f"and {s.n_rows:,} strongest ones, {human_bytes(s.bytes)}{differs}"
        ]
