"""What an export or import is asked for, and what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.records.names import PARTS, Part

Format = Literal["neuron_record", "neuronpedia"]
FORMATS: tuple[Format, ...] = ("neuron_record", "neuronpedia")
ALL_EXPLAIN = (100, 0, 0)


@dataclass(frozen=True)
class ExportOptions:
    """`parts`: the documents that an export covers. The last five are for Neuronpedia."""

    format: Format
    out_dir: Path
    parts: tuple[Part, ...] = PARTS
    neurons: tuple[tuple[int, int], ...] | None = None
    """Layer and neuron; None: all whose rows are stored."""
    n_strongest: int = 100
    n_random: int = 50
    seed: int = 0
    with_class_names: bool = False
    """Name the class of each object in `dataclass_name` (NeuronRecord only)."""
    overwrite: bool = False
    model_id: str | None = None
    """None: the model's name, without its owner."""
    source: str = "mlp"
    """The second part of a layer's name, `<n>-<source>`."""
    batch_size: int = 128
    n_intervals: int = 10
    per_interval: int = 5


@dataclass(frozen=True)
class ExportSummary:
    out_dir: Path
    n_neurons: int
    n_windows: int
    """Texts with activations that were written, over all neurons."""
    n_left_out: int
    """Neurons that were asked for and whose rows are not stored."""
    n_bytes: int

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "out_dir": str(self.out_dir)}

    def lines(self) -> list[str]:
        lines = [f"{self.n_neurons:,} neurons, {self.n_windows:,} texts, {human_bytes(self.n_bytes)}: {self.out_dir}"]
        if self.n_left_out:
            lines.append(f"{self.n_left_out:,} neurons left out: they are not in the sample, so no rows are stored")
        return lines


@dataclass(frozen=True)
class ImportOptions:
    """`skip_first`: positions at the beginning of each text that do not count; the files do not say which count.

    `parts`: percent of the texts in explain, select and report, by a hash of the text. Texts have no document ids, so
    two texts of one document may be in two parts.
    """

    source: Path
    run_dir: Path
    format: Format | Literal["puzzles"]
    model_name: str | None = None
    """None: that of the files, else `imported`."""
    n_layers: int | None = None
    d_mlp: int | None = None
    """None: the smallest that has all neurons of the files."""
    skip_first: int = 0
    created_at_utc: str = ""
    parts: tuple[int, int, int] = ALL_EXPLAIN
    described: dict[str, Any] = field(default_factory=dict)
    """What else is recorded about the source."""


@dataclass(frozen=True)
class ImportSummary:
    run_dir: Path
    n_neurons: int
    n_windows: int
    """Different texts."""
    n_rows: int
    n_by_quantile: int
    """Texts of samples by quantile, which are left out."""
    n_too_short: int
    """Texts without a position that counts, which are left out."""
    n_by_part: dict[Part, int]
    """Different texts in each part."""

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "run_dir": str(self.run_dir)}

    def lines(self) -> list[str]:
        lines = [
            f"{self.n_neurons:,} neurons, {self.n_windows:,} different texts, {self.n_rows:,} rows: {self.run_dir}"
        ]
        if self.n_by_part["explain"] == self.n_windows:
            lines.append("without document ids: all are of part explain; scores on held-out documents need a corpus")
        else:
            shares = ", ".join(f"{n:,} in {part}" for part, n in self.n_by_part.items())
            lines.append(
                f"texts by a hash of each: {shares}; without document ids, one document may have texts in several parts"
            )
        if self.n_by_quantile:
            lines.append(f"{self.n_by_quantile:,} texts of samples by quantile left out")
        if self.n_too_short:
            lines.append(f"{self.n_too_short:,} texts left out: no position counts with skip_first")
        return lines
