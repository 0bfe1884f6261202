"""Sentences about the live model and its answers. Text from the server is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.api.live import Chance, Controls, InterveneAnswer, TargetAnswer, Token
from neuron_signatures.api.models import KnownModel, ModelFacts
from neuron_signatures.dashboard.shell.panels import size
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.manifest import HOOK_NAME, Manifest
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.interventions.sheets import share_text, signed_text, size_text

_FITS = {"as it is": "fits", "8bit": "fits in 8 bit", "4bit": "fits in 4 bit", "no": "does not fit"}


def model_line(facts: ModelFacts) -> str:
    """The loaded model in one line."""
    quantised = "" if facts.quantization == "none" else f", {brief(facts.quantization)}"
    return (
        f"{brief(facts.model_name)}: {facts.n_layers} layers of {facts.d_mlp:,} neurons, {facts.dtype}{quantised} on "
        f"{brief(facts.device)}"
    )


def model_facts(facts: ModelFacts) -> list[tuple[str, str]]:
    """Everything that the server says of its model."""
    why = f" ({brief(facts.quantization_reason)})" if facts.quantization_reason else ""
    return [
        ("model", facts.model_name),
        ("revision", facts.model_revision or "not recorded"),
        ("architecture", facts.architecture),
        ("size", f"{facts.n_layers} layers, {facts.d_mlp:,} neurons each, d_model {facts.d_model:,}, "
                 f"{facts.parameters:,} parameters"),
        ("vocabulary", f"{facts.vocab:,} tokens; context {_or_unknown(facts.context)} tokens"),
        ("computes in", f"{facts.dtype} on {facts.device}"),
        ("quantization", f"{facts.quantization}{why}"),
        ("weights", size(facts.weights_bytes)),
        ("BOS", "added by the tokenizer" if facts.adds_bos else "not added by the tokenizer"),
        ("loaded in", f"{facts.loaded_seconds:.3g} s"),
    ]  # fmt: skip


def known_model_line(model: KnownModel) -> str:
    """An entry of the model list."""
    more = [
        f"{_millions(model.parameters)} parameters" if model.parameters else "",
        f"{size(model.weights_bytes)}" if model.weights_bytes else "",
        "" if model.fits is None else _FITS[model.fits],
        {True: "on this machine", False: "to download", None: ""}[model.in_cache],
        "gated: needs a token of the Hub" if model.gated else "",
    ]
    return "  ·  ".join(filter(None, (brief(model.model_name), *more)))


def differences(m: Manifest, facts: ModelFacts) -> list[str]:
    """What of the live model differs from that of the run, beyond its name; activations then differ slightly."""
    pairs = [
        ("revision", m.model_revision, facts.model_revision),
        ("precision", m.model_dtype, facts.dtype),
        ("quantization", m.quantization, facts.quantization),
    ]
    return [f"{what} {brief(b)} instead of {brief(a)}" for what, a, b in pairs if a and b and a != b]


def why_another(m: Manifest, facts: ModelFacts) -> str:
    """Why neurons of the live model are not those of the run; empty if they are."""
    if m.units is not None:
        return "this run holds directions, not neurons"
    if m.hook_name != HOOK_NAME:
        return f"this run holds activations of {brief(m.hook_name)}"
    if m.model_name.rstrip("/") != facts.model_name.rstrip("/"):
        return f"the server has {brief(facts.model_name)}, and this run is of {brief(m.model_name)}"
    if (m.n_layers, m.d_mlp) != (facts.n_layers, facts.d_mlp):
        return (
            f"the server's model has {facts.n_layers} layers of {facts.d_mlp:,} neurons, that of the run has "
            f"{m.n_layers} of {m.d_mlp:,}"
        )
    return ""


def position_label(tokens: Sequence[Token], pos: int) -> str:
    return f"{pos}  {visible(tokens[pos].token)}"


def chance_text(c: Chance) -> str:
    """`·Austin 78.2 %`."""
    return f"{visible(c.token)} {share_text(c.prob)}"


def target_name(on: TargetAnswer) -> str:
    """The explained quantity: `logit of ·Austin`, or a difference of two."""
    name = f"logit of {visible(on.target.token)}"
    return name if on.foil is None else f"{name} - logit of {visible(on.foil.token)}"


def verdict(answer: InterveneAnswer) -> str:
    """Whether the most likely token changes, with the probabilities of the target before and after."""
    if not answer.top_before or not answer.top_after:
        return "The server lists no token."
    first, second = answer.top_before[0], answer.top_after[0]
    if first.token_id != second.token_id:
        return f"The answer changes: {chance_text(first)} → {chance_text(second)}"
    return f"The answer stays {visible(first.token)}: {share_text(first.prob)} → {share_text(second.prob)}"


def effect_facts(answer: InterveneAnswer, n_neurons: int) -> list[tuple[str, str]]:
    """The effect on the target beside its null, and the distance of the predictions."""
    b, a = answer.before, answer.after
    rows = [
        ("effect", f"{signed_text(answer.effect)} logits, on the {target_name(b)} after position {b.pos} "
                   f"({signed_text(b.value)} → {signed_text(a.value)})"),
    ]  # fmt: skip
    if answer.controls is not None:
        rows.append(("by chance", null_text(answer.controls, answer.effect, n_neurons)))
        rows.append(("p", p_text(answer.controls)))
    rows.append(("probability", f"of {visible(b.target.token)}: {share_text(b.target.prob)} → "
                                f"{share_text(a.target.prob)}, rank {b.target.rank} → {a.target.rank}"))  # fmt: skip
    rows.append(("KL", f"{size_text(answer.kl)} nats, from the prediction before to that after"))
    return rows


def null_text(c: Controls, effect: float, n_neurons: int) -> str:
    """The effects of edits of as many random neurons."""
    one = f"{count_of(c.n, 'random neuron')} of the same layer"
    who = one if n_neurons == 1 else f"{count_of(c.n, 'random set')} of {n_neurons:,} neurons of the same layers"
    how = "the same edit" if c.by == "edit" else "changes of the same size in the residual stream"
    if c.mean is None or c.std is None:
        return f"{how} of {who}: undefined"
    far = "" if not c.std else f"; the effect is {(effect - c.mean) / c.std:+.1f} std from that mean"
    most = "" if c.largest is None else f", largest {signed_text(c.largest)}"
    return f"{signed_text(c.mean)} ± {size_text(c.std)} logits (mean ± std of {how} of {who}){most}{far}"


def p_text(c: Controls) -> str:
    """The p-value, with the smallest one that so many draws can give as a bound."""
    if c.p is None:
        return "undefined"
    return f"{shown_p(c.p, c.n)}, two-sided; {count_of(c.n, 'draw')} cannot give less than {1 / (1 + c.n):.2g}"


def _or_unknown(n: int | None) -> str:
    return "not known" if n is None else f"{n:,}"


def _millions(n: int) -> str:
    return f"{n / 1e9:.3g} B" if n >= 1e9 else f"{n / 1e6:.3g} M"
