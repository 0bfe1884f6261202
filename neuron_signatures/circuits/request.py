"""What a command of stage 10 asks for: one prediction or several of one template, and the settings of the trace."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from neuron_signatures.analysis.attribution.targets import TargetRequest
from neuron_signatures.circuits.checks.settings import CheckSettings
from neuron_signatures.circuits.graph.prune import PruneRules
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input
from neuron_signatures.runs.manifest_file import first_error

MOST_CASES: Final = 10_000
_Text = Annotated[str, Field(min_length=1, max_length=10_000)]


@dataclass(frozen=True)
class Case:
    """A prediction: `prompt` is an id or an index in the run. `entity` is the text that differs between the prompts of
    a template; None if it is not known. Circuits are not chosen on cases that are `held_out`."""

    prompt: str | int
    target: TargetRequest
    entity: str | None = None
    held_out: bool = False


@dataclass(frozen=True)
class TraceSettings:
    """How circuits are traced. `max_memory` (bytes) bounds a batch of backward passes, and the edges of candidates."""

    rules: PruneRules
    n_candidates: int
    """Neurons at positions, the most relevant, between which edges are computed."""
    reference: str | None
    min_mean_tokens: int
    heads: bool
    measure: int
    """Nodes, and edges, that are ablated in forward passes: the strongest."""
    max_memory: int

    def in_results(self) -> dict[str, Any]:
        """Those on which the result depends, without the reference."""
        return {
            **asdict(self.rules), "candidates": self.n_candidates, "heads": self.heads, "measure": self.measure,
            "min_mean_tokens": self.min_mean_tokens,
        }  # fmt: skip


@dataclass(frozen=True)
class TraceRequest:
    """`name` is that of the folder: of the circuit, or of what several have in common. None: from prompt and target, or
    from the file of cases."""

    cases: tuple[Case, ...]
    name: str | None
    settings: TraceSettings
    overrides: ModelOverrides
    overwrite: bool
    checks: CheckSettings | None
    """How circuits are tested by intervention after they are traced; None: not at all."""
    export: Path | None
    """Folder for a graph file and feature files."""


class _CaseEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    prompt_id: _Text | int
    target_token: _Text | None = None
    target_token_id: int | None = None
    foil_token: _Text | None = None
    foil_token_id: int | None = None
    entity: _Text | None = None
    held_out: bool = False


_ENTRIES: Final = TypeAdapter(Annotated[list[_CaseEntry], Field(min_length=1, max_length=MOST_CASES)])


def read_cases(path: Path, *, target_pos: int) -> tuple[Case, ...]:
    """The cases of a file: a JSON list of objects with `prompt_id`, a target, and perhaps a foil, `entity`, `held_out`.

    Raises `UsageError` for a file that is not such a list, and for a prompt with the same target twice.
    """
    try:
        entries = _ENTRIES.validate_python(read_json_input(path))
    except ValidationError as e:
        what = f"not a list of cases ({first_error(e)})"
        step = 'Each case is {"prompt_id": ..., "target_token": ...}, with "foil_token", "entity", "held_out" if wanted'
        raise UsageError(what, where=str(path), next_step=step) from e
    cases = tuple(_case(entry, target_pos) for entry in entries)
    for i, case in enumerate(cases):
        if (case.prompt, case.target) in [(c.prompt, c.target) for c in cases[:i]]:
            what = f"case {i + 1} is the same prompt {case.prompt!r} and target as an earlier one"
            raise UsageError(what, where=str(path))
    return cases


def target_request(
    pos: int, token: str | None, token_id: int | None, foil: str | None, foil_id: int | None, mode: str | None = None
) -> TargetRequest:
    """The pre-cap logit of the given token, else of the most likely one."""
    given = token is not None or token_id is not None
    chosen = mode or ("next_token" if given else "top1_logit")
    return TargetRequest(chosen, pos, token, token_id, foil, foil_id)  # type: ignore[arg-type]  # argparse's choices


def _case(entry: _CaseEntry, target_pos: int) -> Case:
    target = target_request(
        target_pos, entry.target_token, entry.target_token_id, entry.foil_token, entry.foil_token_id
    )
    return Case(entry.prompt_id, target, entry.entity, entry.held_out)
