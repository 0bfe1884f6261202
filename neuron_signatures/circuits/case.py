"""One case of stage 10: the prediction with everything that it is traced by, and the name of its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import (
    ReferenceChoice,
    reference_at,
    refuse_undefined,
)
from neuron_signatures.analysis.attribution.stage import first_position_warning
from neuron_signatures.analysis.attribution.targets import ResolvedTarget, resolve_target
from neuron_signatures.circuits.request import Case, TraceSettings
from neuron_signatures.circuits.template_mean import Seen, template_mean
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt
from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible

TEMPLATE: Final = "template"
"""The reference that is the mean over the other cases."""
UNLIKELY: Final = 0.01
"""Probability of a target below which a circuit explains what the model does not say."""
_NAME_CHARACTERS: Final = 100


@dataclass(frozen=True)
class CaseReference:
    """What activations are compared with. `values` are ā at the problem's positions: all up to the target's."""

    name: str
    values: Float[Tensor, "layer pos neuron"]
    identity: dict[str, Any]
    """What tells it from other references, without its values."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedCase:
    """A case whose prompt was checked and whose target was resolved."""

    case: Case
    checked: CheckedPrompt
    resolved: ResolvedTarget
    problem: Problem
    reference: CaseReference
    warnings: tuple[str, ...]

    @property
    def references(self) -> Float[Tensor, "layer pos neuron"]:
        return self.reference.values

    @property
    def model(self) -> LoadedModel:
        return self.checked.model

    @property
    def prompt(self) -> Prompt:
        """Its tokens are those up to the target's position: later ones have no effect on it."""
        record, facts, target = self.checked.prompt, self.resolved.facts, self.resolved.target
        n = target.pos + 1
        foil = facts.foil
        return Prompt(
            prompt_id=record.probe_id, text=record.text, token_ids=tuple(record.token_ids[:n]),
            tokens=tuple(record.tokens[:n]), target_pos=target.pos, target_id=target.token_id,
            target=facts.target.token, target_probability=facts.target.probability, foil_id=target.foil_id,
            foil=foil.token if foil else None, foil_probability=foil.probability if foil else None, value=facts.value,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Of its folder: prompt, position and ids of target and foil."""
        target = self.resolved.target
        foil = "" if target.foil_id is None else f"_foil{target.foil_id}"
        name = f"{safe_id(self.checked.prompt.probe_id)}_pos{target.pos}_tok{target.token_id}{foil}"
        if len(name) <= _NAME_CHARACTERS:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return f"{name[: _NAME_CHARACTERS - 13]}_{digest}"

    def settings(self, settings: TraceSettings) -> dict[str, Any]:
        """What the circuit depends on besides the run."""
        found: dict[str, Any] = strict({
            "prompt_id": self.checked.prompt.probe_id, "target": asdict(self.resolved.target),
            "entity": self.case.entity, "held_out": self.case.held_out, "reference": self.reference.name,
            "reference_of": self.reference.identity,
            "model_dtype": self.model.spec.dtype, **settings.in_results(),
        })  # fmt: skip
        return found


ReferenceOf = Callable[[CheckedPrompt, Sequence[int]], CaseReference]
"""The reference at these positions of a prompt."""


def prepare_case(run: Run, checked: CheckedPrompt, case: Case, reference_of: ReferenceOf) -> PreparedCase:
    """Resolve the target and the reference of a case. Raises `UsageError` as `resolve_target` and `reference_at`, and
    for a reference that is not known in every layer."""
    resolved = resolve_target(checked.model, checked.prompt.token_ids, case.target)
    positions = tuple(range(resolved.target.pos + 1))
    problem = Problem(checked.model.hf, checked.prompt.token_ids, resolved.target, positions)
    reference = reference_of(checked, positions)
    step = "Dump all layers, or use --reference zero"
    refuse_undefined(reference.values, where=f"--reference {reference.name}", next_step=step)
    warnings = (*checked.warnings, *reference.warnings, *resolved.warnings, *_unlikely(resolved))
    checked = replace(checked, acts=checked.acts[:, :0])  # of many cases, they would fill the memory
    return PreparedCase(case, checked, resolved, problem, reference, warnings)


def of_choice(run: Run, choice: ReferenceChoice) -> ReferenceOf:
    """The reference of stages 2 and 3: the same for all cases, but for its values."""

    def at(checked: CheckedPrompt, positions: Sequence[int]) -> CaseReference:
        found = reference_at(choice, run, checked.model, checked.prompt, positions)
        values = found.held(checked.acts[:, list(positions)])
        warnings = (*choice.warnings, *first_position_warning(choice, positions))
        return CaseReference(found.name, values, strict(found.identity()), warnings)

    return at


def of_template(cases: Sequence[tuple[Case, CheckedPrompt]]) -> ReferenceOf:
    """The mean over the cases of other entities that are not held out, at the positions with the same role."""
    seen = {c.prompt.probe_id: Seen(tuple(c.prompt.token_ids), c.acts) for case, c in cases if not case.held_out}
    entity = {checked.prompt.probe_id: case.entity or checked.prompt.probe_id for case, checked in cases}

    def at(checked: CheckedPrompt, positions: Sequence[int]) -> CaseReference:
        own = entity[checked.prompt.probe_id]
        others = {name: other for name, other in seen.items() if entity[name] != own}
        values = template_mean(checked.prompt.token_ids, list(others.values()))
        return CaseReference(TEMPLATE, values[:, list(positions)], {"name": TEMPLATE, "prompts": list(others)})

    return at


def _unlikely(resolved: ResolvedTarget) -> list[str]:
    target, best = resolved.facts.target, resolved.facts.top[0]
    if target.probability >= UNLIKELY:
        return []
    return [
        f"the target {visible(target.token)!r} has probability {target.probability:.2g} (rank {target.rank + 1}): the "
        f"model does not say it, but {visible(best.token)!r} ({best.probability:.2g})"
    ]
