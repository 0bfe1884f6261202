"""The exact prompt of one pole of a neuron, to be read by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from neuron_signatures.explain.by_model import open_evidence, open_scorers
from neuron_signatures.explain.explainers.build import TooLittle, build_prompt
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.explain.work import modes_of, request_of
from neuron_signatures.interventions.choice.neurons import parse_names
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.tokens import escape

if TYPE_CHECKING:
    from neuron_signatures.explain.stage import Opened


class ShownPrompt(NamedTuple):
    """A prompt with the parameters of its first request."""

    at: NeuronPole
    prompt: Prompt
    max_tokens: int
    temperature: float
    seed: int

    def fields(self) -> dict[str, Any]:
        """For JSON: the messages exactly as they are sent."""
        p = self.prompt
        return {
            "neuron": self.at.label, "messages": [m._asdict() for m in p.messages], "max_tokens": self.max_tokens,
            "temperature": self.temperature, "seed": self.seed, "prompt_version": p.version,
            "prompt_sha256": p.sha256, "evidence": list(p.evidence), "n_dropped": p.n_dropped,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For a terminal: control characters are escaped, all else is as it is sent."""
        p = self.prompt
        lines = [line for m in p.messages for line in (f"===== {m.role} =====", *_shown(m.content))]
        left_out = f", {p.n_dropped} texts left out to stay below --max_prompt_tokens" if p.n_dropped else ""
        facts = f"about {estimated_tokens(p.messages):,} tokens, {len(p.evidence)} texts{left_out}"
        return [*lines, "=====", f"{self.at.label}, {p.version}: {facts}; sha256 {p.sha256[:16]}..."]


def shown_prompt(work: Opened, name: str) -> ShownPrompt:
    """The prompt of the neuron with this name, such as `L3N508+`; of its first mode.

    Raises `UsageError` if the name has no pole, or if there is too little evidence.
    """
    chosen = parse_names([name], "--show_prompt")[0]
    if not chosen.pole:
        raise UsageError("this names both poles", where=f"--show_prompt {name}", next_step=f"Write {name}+ or {name}-")
    at, method = NeuronPole(chosen.layer, chosen.neuron, chosen.pole), work.request.method
    scorers = open_scorers(method, work.records)
    evidence = open_evidence(work, at, scorers)
    mode = modes_of(evidence, method, scorers.embedder)[0]
    prompt = build_prompt(method.explainer, evidence, mode=mode)
    if isinstance(prompt, TooLittle):
        raise UsageError(prompt.reason, where=f"--show_prompt {name}")
    request = request_of(at, prompt, mode, method, sample=0).request
    return ShownPrompt(at, prompt, request.max_tokens, request.temperature, request.seed)


def _shown(text: str) -> list[str]:
    """The lines of a text, with tabs as they are."""
    return ["\t".join(map(escape, line.split("\t"))) for line in text.split("\n")]
