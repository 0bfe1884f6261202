"""`explanations/<set>.parquet`: one row per explanation, with its state when the set was finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.lines import open_set, read_entry
from neuron_signatures.runs.explanations.resolve import State
from neuron_signatures.runs.plain import strict

if TYPE_CHECKING:
    import pandas as pd

_OF_ENTRY = (
    "id", "layer", "neuron", "pole", "text", "explainer", "status", "reason", "author", "author_name",
    "created_at_utc", "parent", "sample", "revision", "mode", "mode_share", "client", "model", "answered_by",
    "temperature", "seed", "prompt_version", "prompt_sha256", "prompt_tokens", "completion_tokens", "cost", "seconds",
)  # fmt: skip
_INTEGERS = (
    "layer", "neuron", "sample", "revision", "mode", "seed", "prompt_tokens", "completion_tokens", "n_evidence", "up",
    "down",
)  # fmt: skip
_NUMBERS = ("mode_share", "temperature", "cost", "seconds", "select_value", "precision", "recall")
_FLAGS = ("current", "chosen", "replaced")


def explanations_table(log: LogIndex) -> pd.DataFrame:
    """The explanations of a set by layer, neuron and pole, in the order of the log."""
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in _columns()}
    with open_set(log.path) as file:
        for at in sorted(log.poles):
            states = log.states(at)
            choices = [read_entry(file, log.path, line) for s in states if (line := s.choice) is not None]
            for state in states:
                row = _row(read_entry(file, log.path, state.line), state, choices)
                for name, values in columns.items():
                    values.append(row[name])
    types = {**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_NUMBERS, "float64"), **dict.fromkeys(_FLAGS, "bool")}
    return pd.DataFrame({c: pd.Series(values, dtype=types.get(c, "string")) for c, values in columns.items()})


def _columns() -> list[str]:
    of_state = ("n_evidence", "precision", "recall", "current", "chosen", "select_value", "up", "down", "locked_by",
                "replaced")  # fmt: skip
    return [*_OF_ENTRY, *of_state]


def _row(entry: Entry, state: State, choices: list[Entry]) -> dict[str, Any]:
    rule = entry.rule
    values = [c.values[entry.id] for c in choices if c.values is not None and entry.id in c.values]
    row = {
        **{name: getattr(entry, name) for name in _OF_ENTRY},
        "n_evidence": len(entry.evidence),
        "precision": None if rule is None else rule.precision,
        "recall": None if rule is None else rule.recall,
        "current": state.current,
        "chosen": state.choice is not None,
        "select_value": values[-1] if values else None,
        "up": state.up,
        "down": state.down,
        "locked_by": state.locked_by,
        "replaced": state.replaced,
    }
    return {name: strict(value) for name, value in row.items()}
