"""What a command of `--mode collect` says at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.runs.errors import escape_controls
from neuron_signatures.runs.files import counted, human_seconds
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.tokens import brief
from neuron_signatures.skills.collect.units.gate import Gate

_MOST_SKILLS = 8


@dataclass(frozen=True)
class CollectSummary:
    """The record of the stage, and the quality of the autoencoders by the key of the bank."""

    run: str
    meta: CollectMeta
    gates: Mapping[str, Gate]
    tokens_per_second: float | None
    warnings: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        m = self.meta
        return {
            "run": self.run, "n_texts": m.n_texts, "n_tokens": m.n_tokens, "classes": m.classes,
            "n_duplicates": m.n_duplicates, "n_ambiguous": m.n_ambiguous, "n_too_short": m.n_too_short,
            "n_truncated": m.n_truncated, "banks": [record.bank.key for record in m.banks],
            "gates": {key: {**asdict(gate), "passed": gate.passed} for key, gate in self.gates.items()},
            "wall_seconds": m.wall_seconds, "tokens_per_second": self.tokens_per_second,
            "warnings": list(self.warnings),
        }  # fmt: skip

    def lines(self) -> list[str]:
        m = self.meta
        left_out = {
            "duplicates": m.n_duplicates, "in several classes": m.n_ambiguous, "too short": m.n_too_short,
        }  # fmt: skip
        dropped = ", ".join(f"{n:,} {why}" for why, n in left_out.items() if n)
        cut = f", {m.n_truncated:,} of them cut" if m.n_truncated else ""
        rate = "" if self.tokens_per_second is None else f", {self.tokens_per_second:,.0f} tokens/s"
        return [
            f"texts      {m.n_texts:,} of {counted(m.n_tokens, 'token')}{cut}",
            *(f"class      {_class_line(cls, skills)}" for cls, skills in m.classes.items()),
            *([f"left out   {dropped}"] if dropped else []),
            *(f"units      {line}" for line in _bank_lines([record.bank for record in m.banks])),
            *gate_lines(self.gates),
            *(f"note       {escape_controls(warning)}" for warning in self.warnings),
            f"time       {human_seconds(m.wall_seconds)}{rate}",
            f"run        {escape_controls(self.run)}",
        ]


def gate_lines(gates: Mapping[str, Gate]) -> list[str]:
    """A table of the autoencoders' quality."""
    if not gates:
        return []
    lines = [f"gate       {'autoencoder':16} {'L0':>8} {'FVU':>7} {'dead':>7}"]
    for key, gate in gates.items():
        fvu = "" if gate.fvu is None else f"{gate.fvu:.3f}"
        failed = "" if gate.passed else "  FVU is above 1: the wrong tensor?"
        lines.append(f"           {key:16} {gate.l0:>8.1f} {fvu:>7} {gate.dead_share:>7.1%}{failed}")
    return lines


def _class_line(cls: str, skills: Mapping[str, int]) -> str:
    named = [f"{brief(skill)} {n:,}" for skill, n in skills.items() if skill]
    more = f" and {len(named) - _MOST_SKILLS} more" if len(named) > _MOST_SKILLS else ""
    return f"{brief(cls)} {sum(skills.values()):,}" + (f": {', '.join(named[:_MOST_SKILLS])}{more}" if named else "")


def _bank_lines(banks: Sequence[Bank]) -> list[str]:
    groups: dict[str, list[Bank]] = {}
    for bank in banks:
        groups.setdefault(bank.group, []).append(bank)
    return [f"{group}: {counted(len(of), 'layer')} of {of[0].n_units:,}" for group, of in groups.items()]
