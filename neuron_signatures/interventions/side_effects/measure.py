"""What changed neurons do elsewhere: on neutral prompts, on facts, and on the perplexity of a held-out text.

On each neutral prompt the neurons are changed at the last position, and KL(clean ‖ changed) is that of the next token,
in nats over the whole vocabulary. In the held-out text they are changed at every position but the first. Random changes
of the same size (`elsewhere`) are applied to the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import pre_cap_logits
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.tokens.vocab import single_token
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.controls.random_sets import Norms
from neuron_signatures.interventions.copies import DEFAULT_BATCH, Predictions, joined_predictions
from neuron_signatures.interventions.side_effects.elsewhere import ChangedNeurons, Elsewhere
from neuron_signatures.interventions.side_effects.neutral import Neutral, NeutralText
from neuron_signatures.interventions.side_effects.perplexity import perplexity
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import MlpCapture, backbone
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import context_length, encode_text, token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import NeutralPrompt, RandomSideEffects, SideEffects
from neuron_signatures.runs.progress import ProgressOf, silent

DEFAULT_SETS = 20


@dataclass(frozen=True)
class SideEffectSettings:
    """`prepend_bos` as in the run; `n_sets` random sets, drawn with `seed`; `batch` copies per forward pass."""

    prepend_bos: bool
    n_sets: int = DEFAULT_SETS
    seed: int = 0
    batch: int = DEFAULT_BATCH


class Found(NamedTuple):
    record: SideEffects
    warnings: tuple[str, ...]


def side_effects(
    model: LoadedModel,
    changes: Changes,
    neutral: Neutral,
    settings: SideEffectSettings,
    *,
    norms: Norms,
    progress: ProgressOf = silent,
) -> Found:
    """Side effects of `changes`, whose positions are replaced by those of the neutral texts.

    Where a neuron has cells at several positions, that of the latest position counts.
    """
    n, rng = settings.n_sets, np.random.default_rng(settings.seed)
    return side_effects_of(
        model, ChangedNeurons(model, changes, norms, n, rng, settings.batch), neutral, settings, progress=progress
    )


def side_effects_of(
    model: LoadedModel,
    changed: Elsewhere,
    neutral: Neutral,
    settings: SideEffectSettings,
    *,
    progress: ProgressOf = silent,
) -> Found:
    """Side effects of any intervention that can be repeated on other texts.

    Neutral prompts of one token, whose last position is the first, and those that are longer than the model's context
    are left out, with a warning. A continuation that is not one token of the vocabulary is no fact. Raises `UsageError`
    if no prompt is left, or if the changed model's logits are not finite.
    """
    prompts = _encoded(model, neutral, prepend_bos=settings.prepend_bos)
    found: list[_OnPrompt] = []
    with progress("neutral prompts", len(prompts)) as bar:
        for prompt in prompts:
            found.append(_on_prompt(model, prompt, changed))
            bar.advance(1)
    held_out = _held_out(model, neutral.held_out, prepend_bos=settings.prepend_bos)
    before = perplexity(model, held_out)
    with changed.everywhere():
        after = perplexity(model, held_out)
    kl = [f.edited.kl[0].item() for f in found]
    facts = [f for f in found if f.prompt.continuation is not None]
    record = SideEffects(
        n_prompts=len(found),
        kl_mean=float(np.mean(kl)),
        kl_median=float(np.median(kl)),
        kl_max=max(kl),
        n_top_changed=sum(f.top_after != f.top_before for f in found),
        facts=len(facts),
        facts_before=sum(f.top_before == f.prompt.continuation for f in facts),
        facts_after=sum(f.top_after == f.prompt.continuation for f in facts),
        perplexity_before=before,
        perplexity_after=after,
        n_tokens=len(held_out),
        random=_of_random([f.edited.kl[1:] for f in found]) if changed.n_random else None,
        prompts=[_record(model, f) for f in found],
    )
    notes = [
        *neutral.warnings(),
        *_left_out(neutral, prompts),
        *_no_random(settings, changed),
        *_unknown(model, record),
    ]
    return Found(record.model_copy(update={"notes": notes}), tuple(notes))


class _Prompt(NamedTuple):
    text: str
    token_ids: list[int]
    continuation: int | None


class _OnPrompt(NamedTuple):
    """Predictions for the set (row 0) and the random sets; the target is the most likely token before."""

    prompt: _Prompt
    clean: Predictions
    edited: Predictions

    @property
    def top_before(self) -> int:
        return int(self.clean.top_id[0])

    @property
    def top_after(self) -> int:
        return int(self.edited.top_id[0])


def _encoded(model: LoadedModel, neutral: Neutral, *, prepend_bos: bool) -> list[_Prompt]:
    most = context_length(model.config)
    found = []
    for prompt in neutral.prompts:
        ids = encode_text(model.tokenizer, prompt.text, prepend_bos=prepend_bos)
        if len(ids) > 1 and (most is None or len(ids) <= most):
            found.append(_Prompt(prompt.text, ids, _continuation(model, prompt)))
    if not found:
        what = "no neutral prompt has two tokens or more and fits into the model's context"
        raise UsageError(what, where=f"neutral prompts ({neutral.name})", next_step="Give others with --neutral_json")
    return found


def _continuation(model: LoadedModel, prompt: NeutralText) -> int | None:
    if prompt.continuation is None:
        return None
    try:
        return single_token(model.tokenizer, prompt.continuation, where="continuation")
    except UsageError:
        return None


def _held_out(model: LoadedModel, text: str, *, prepend_bos: bool) -> list[int]:
    ids = encode_text(model.tokenizer, text, prepend_bos=prepend_bos)[: context_length(model.config)]
    if len(ids) < 2:
        raise UsageError("has fewer than two tokens", where="the held-out text", next_step="Write a longer one")
    return ids


def _on_prompt(model: LoadedModel, prompt: _Prompt, changed: Elsewhere) -> _OnPrompt:
    last = len(prompt.token_ids) - 1
    acts, top = _clean(model, prompt.token_ids)
    problem = Problem(model.hf, prompt.token_ids, Target(last, top, None, "pre_cap_logit", "top1_logit"), (last,))
    passes = list(changed.passes(problem, acts))
    found = _OnPrompt(prompt, passes[0][0], joined_predictions([edited for _, edited in passes]))
    if not bool(found.edited.logprob.isfinite().all()):
        what = "the changed model's logits are not finite"
        raise UsageError(what, where=f"neutral prompt {prompt.text!r}", next_step="Use a smaller change")
    return found


def _clean(model: LoadedModel, token_ids: Sequence[int]) -> tuple[Float[Tensor, "layer neuron"], int]:
    """Activations at the last position, float32 on the CPU, and the most likely next token."""
    seen: list[Tensor] = []
    acts: list[Tensor] = []

    def keep(_: nn.Module, args: object, out: Any) -> None:
        seen.append(out.last_hidden_state[:, -1])

    handle = backbone(model.hf).register_forward_hook(keep)
    try:
        with (
            memory_faults(work_on(model.hf, "the forward pass of a neutral prompt", token_ids)),
            MlpCapture(model.hf) as capture,
        ):
            ids = torch.tensor([list(token_ids)], device=model.device)
            capture.run(ids, sink=lambda _, found: acts.append(found[0, -1].float().cpu().clone()))
            with torch.inference_mode():
                top = int(pre_cap_logits(unembedding(model.hf), seen[0]).argmax())
    finally:
        handle.remove()
    return torch.stack(acts), top


def _of_random(kl: Sequence[Float[Tensor, " set"]]) -> RandomSideEffects:
    means = torch.stack(list(kl)).double().mean(0).numpy()
    low, high = np.percentile(means, [5, 95])
    return RandomSideEffects(n_sets=len(means), kl_mean=float(means.mean()), kl_low=float(low), kl_high=float(high))


def _record(model: LoadedModel, found: _OnPrompt) -> NeutralPrompt:
    before, after = token_strings(model.tokenizer, [found.top_before, found.top_after])
    return NeutralPrompt(
        text=found.prompt.text,
        kl=found.edited.kl[0].item(),
        top_before=before,
        top_after=after,
        probability_before=found.clean.probability[0].item(),
        probability_after=found.edited.probability[0].item(),
    )


def _left_out(neutral: Neutral, prompts: Sequence[_Prompt]) -> list[str]:
    n = len(neutral.prompts) - len(prompts)
    return [f"{n} neutral prompts are left out: one token, or longer than the model's context"] if n else []


def _no_random(settings: SideEffectSettings, changed: Elsewhere) -> list[str]:
    missing = settings.n_sets and not changed.n_random
    return ["side effects of random sets are left out: a layer has too few neurons for them"] if missing else []


def _unknown(model: LoadedModel, record: SideEffects) -> list[str]:
    """Warnings if the texts are of a kind that the model does not know, such as the demo model."""
    out = []
    if record.perplexity_before > model.hf.get_input_embeddings().weight.shape[0]:
        out.append("the held-out text is more surprising to the model than random tokens: its perplexity says nothing")
    if record.facts and not record.facts_before:
        out.append(f"the model predicts none of the {record.facts} facts, so none can be lost")
    return out
