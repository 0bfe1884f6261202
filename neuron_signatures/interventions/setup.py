"""What every mode begins with: the run's model, checked, and the destination prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from neuron_signatures.analysis.attribution.precision import DIFFERENCES, default_dtype
from neuron_signatures.interventions.choice.prompts import Prompt, prompt_of_run, prompt_of_text
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt, ModelOverrides, check_prompt
from neuron_signatures.models.spec import Dtype
from neuron_signatures.runs.run import Run


@dataclass(frozen=True)
class Setup:
    """The run, its model, and one of its prompts."""

    run: Run
    checked: CheckedPrompt
    session: Session
    prompt: Prompt

    @property
    def dtype(self) -> Dtype:
        return self.session.model.spec.dtype

    def source(self, *, prompt: str | None, text: str | None) -> Prompt:
        """The source prompt: one of the run, or a text."""
        if prompt is not None:
            return prompt_of_run(self.run, self.run.prompt(prompt))
        assert text is not None
        return prompt_of_text(self.run, self.session.model, text, where="--source_text")


def set_up(run: Run, prompt: str | int, overrides: ModelOverrides) -> Setup:
    """Load the run's model, in float32 unless another precision is given. Raises the errors of `check_prompt`."""
    dtype = overrides.dtype or default_dtype(run.manifest, ["ablation"])
    reason = DIFFERENCES if overrides.dtype is None else None
    checked = check_prompt(run, prompt, replace(overrides, dtype=dtype), dtype_reason=reason)
    return Setup(
        run, checked, Session(checked.model, tuple(checked.prompt.token_ids)), prompt_of_run(run, checked.prompt)
    )
