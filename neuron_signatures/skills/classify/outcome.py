"""What `--mode classify` did, and what it would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.llm.spent import Spent
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.skills.names import CLASSIFICATIONS, SKILLS
from neuron_signatures.skills.classify.by_model import ModelForecast


@dataclass(frozen=True)
class Outcome:
    """`statuses` and `spent` are by model. `stopped`: why it ended early; then no table was written."""

    run_dir: Path
    n_units: int
    n_pairs: int
    statuses: Mapping[str, Mapping[str, int]]
    spent: Mapping[str, Spent]
    embedding: str
    """The model of the embeddings, or why there is none."""
    agreement: Sequence[Mapping[str, Any]] = ()
    """Rows about all classes."""
    controls: Sequence[Mapping[str, Any]] = ()
    answered_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stopped: str = ""

    @property
    def n_failed(self) -> int:
        return sum(n for counts in self.statuses.values() for status, n in counts.items() if status != "ok")

    def facts(self) -> dict[str, Any]:
        """For the stage record."""
        return {
            "n_units": self.n_units, "n_pairs": self.n_pairs,
            "statuses": {name: dict(counts) for name, counts in self.statuses.items()},
            "spent": {name: asdict(spent) for name, spent in self.spent.items()},
            "answered_by": {name: list(models) for name, models in self.answered_by.items()},
            "embedding": self.embedding,
        }  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run_dir": str(self.run_dir), **self.facts(), "agreement": [dict(row) for row in self.agreement],
            "controls": [dict(row) for row in self.controls], "stopped": self.stopped,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{counted(self.n_units, 'unit')}, {counted(self.n_pairs, 'pair')} of an explanation and a class"]
        for name, counts in self.statuses.items():
            lines.append(f"{name}: {', '.join(f'{n:,} {s}' for s, n in counts.items())}; {self.spent[name].text()}")
        lines.append(f"embedding: {self.embedding}")
        if self.stopped:
            return lines
        lines += [_agreement_line(row) for row in self.agreement if row["n"]]
        lines += [_control_line(row) for row in self.controls]
        return [*lines, f"in {self.run_dir / SKILLS}/{CLASSIFICATIONS}.parquet"]


@dataclass(frozen=True)
class Forecast:
    """What `--dry_run` tells. Requests that were answered before are among those counted."""

    n_units: int
    n_pairs: int
    models: Mapping[str, ModelForecast]

    def fields(self) -> dict[str, Any]:
        models = {name: found._asdict() for name, found in self.models.items()}
        return {"n_units": self.n_units, "n_pairs": self.n_pairs, "models": models}

    def lines(self) -> list[str]:
        lines = [f"{counted(self.n_units, 'unit')}, {counted(self.n_pairs, 'pair')} of an explanation and a class"]
        for name, m in self.models.items():
            cost = "no price is known: give --price_file" if m.cost is None else f"at most ${m.cost:.2f}"
            tokens = f"about {m.prompt_tokens:,} tokens of prompts, at most {m.answer_tokens:,} of answers"
            lines.append(f"{name}: {counted(m.requests, 'request')}, {tokens}, {cost} ({m.prices})")
        return lines if self.models else [*lines, "no requests"]


def _agreement_line(row: Mapping[str, Any]) -> str:
    who = f"{row['rater_a']} against {row['rater_b']} ({row['n']:,} pairs)"
    if row.get("auroc") is not None:
        return f"{who}: AUROC {row['auroc']:.2f}{_interval(row['auroc_low'], row['auroc_high'])}, chance 0.50"
    if row.get("agreement") is None:
        return f"{who}: AUROC undefined: only one of yes and no"
    if row.get("kappa") is None:
        return f"{who}: agreement {row['agreement']:.2f}, kappa undefined: both have one answer only"
    return (
        f"{who}: agreement {row['agreement']:.2f} (chance {row['chance']:.2f}), "
        f"kappa {row['kappa']:.2f}{_interval(row['low'], row['high'])}"
    )


def _control_line(row: Mapping[str, Any]) -> str:
    what = {"share_yes": "share of yes", "mean_confidence": "mean"}[row["statistic"]]
    of = f" of {row['source']}" if row["source"] else ""
    spread = "" if row["null_sd"] is None else f" ± {row['null_sd']:.3f}, p {row['p']:.3g}"
    return (
        f"{row['rater']}{of}: {what} for the unit's own class {row['value']:.3f}, "
        f"with explanations of other units {row['null_mean']:.3f}{spread}"
    )


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None else f" [{low:.2f}, {high:.2f}]"
