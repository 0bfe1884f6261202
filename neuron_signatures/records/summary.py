"""What a command of stage 4 says at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuron_signatures.records.pass1.run import Shard
from neuron_signatures.runs.errors import escape_controls
from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta


@dataclass(frozen=True)
class RecordsSummary:
    """The stage records that exist now; `records` is None after a shard."""

    run: str
    corpus: CorpusMeta
    records: RecordsMeta | None
    sample: SampleMeta | None
    shard: Shard

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        parts = {"corpus": self.corpus, "records": self.records, "sample": self.sample}
        return {"run": self.run, **{k: v.fields() if v is not None else None for k, v in parts.items()}}

    def lines(self) -> list[str]:
        """As text."""
        return [*self._corpus(), *self._records(), *self._sample(), f"run        {escape_controls(self.run)}"]

    def _corpus(self) -> list[str]:
        c = self.corpus
        parts = ", ".join(f"{part} {n:,}" for part, n in c.counted_by_part.items())
        stopped = "" if c.complete else f" (reading stopped: {c.stopped})"
        dropped = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in c.dropped.items() if n)
        return [
            f"corpus     {c.n_documents:,} documents, {c.n_tokens:,} tokens, {c.n_windows:,} windows{stopped}",
            f"counted    {c.n_counted:,} positions: {parts}",
            *([f"left out   documents: {dropped}"] if dropped else []),
            *(f"note       {escape_controls(w)}" for w in c.warnings),
        ]

    def _records(self) -> list[str]:
        r = self.records
        if r is None:
            return [f"shard      {self.shard.number} of {self.shard.of} is finished; --merge joins them"]
        n = len(r.layers) * r.d_mlp
        rate = f", {r.tokens_per_second:,.0f} positions/s" if r.tokens_per_second else ""
        left_out = f"; {sum(r.left_out.values())} windows left out as not finite" if r.left_out else ""
        return [
            f"neurons    {n:,} in {len(r.layers)} layers in {human_seconds(r.wall_seconds)}{rate}{left_out}",
            f"dead       {r.n_dead:,} ({r.n_dead / n:.2%})",
            f"nearly so  {r.n_nearly_dead:,} ({r.n_nearly_dead / n:.2%})",
        ]

    def _sample(self) -> list[str]:
        s = self.sample
        if s is None:
            return ["kept whole none: choose neurons with --neurons or --from"] if self.records else []
        differs = "" if s.worst_difference is None else f"; second pass differs by at most {s.worst_difference:.1e}"
        return [
            f"kept whole {s.n_neurons:,} neurons ({s.chosen_by}) on {s.n_windows:,} sampled windows and "
            f"{s.n_rows:,} strongest ones, {human_bytes(s.bytes)}{differs}"
        ]
