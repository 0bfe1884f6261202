"""Sentences about one neuron at large, shared by the terminal browser, the explorer and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.at_large.neuron import (
    AtLarge,
    Meaning,
    MeaningGroup,
    Membership,
    Neighbour,
    NgramEffect,
    Similar,
    WeightStatistics,
)

_SIGN = "With a gate, the sign of activations is a convention."
CLASS_HELP = {
    "prediction": f"A positive activation raises few tokens: kurtosis above 10, positive skewness. {_SIGN}",
    "suppression": f"A positive activation lowers few tokens: kurtosis above 10, negative skewness. {_SIGN}",
    "partition": "Raises one large set of tokens and lowers another: high variance over the vocabulary.",
    "entropy": "Writes much, mostly where the unembedding hardly reads: it changes how sure the model is.",
    "token_frequency": "Writes along the direction of how frequent tokens are.",
    "none": "None of the classes.",
}
_N_TOKENS = 4


def short(value: float | None, form: str = ".3g") -> str:
    """A number, or `undefined`."""
    return "undefined" if value is None or not math.isfinite(value) else f"{value:{form}}"


def class_words(cls: str) -> str:
    """The weight class for people."""
    return "no class" if cls == "none" else brief(cls).replace("_", " ")


def weights_sentence(w: WeightStatistics) -> str:
    """The class and the numbers that it rests on."""
    parts = [f"kurtosis {short(w.logit_kurtosis)}", f"skewness {short(w.logit_skewness, '+.2f')}",
             f"variance {short(w.logit_variance, '.2g')}", f"|w_out| {short(w.norm_out)}"]  # fmt: skip
    parts += [f"weakest 2 % of W_U {w.null_share:.1%}"] if w.null_share is not None else []
    parts += [f"cos in, out {w.cos_in_out:+.2f}"] if w.cos_in_out is not None else []
    parts += [f"token frequency r {w.frequency_correlation:+.2f}"] if w.frequency_correlation is not None else []
    return f"{class_words(w.cls)}: {', '.join(parts)}"


def neighbours_words(found: Iterable[Neighbour], weight: str, n: int) -> str:
    """The first neighbours of one weight: `L3N5 +0.82, L1N4 -0.79`; in brackets the null's 99th percentile."""
    own = sorted((x for x in found if x.weight == weight), key=lambda x: x.rank)
    words = ", ".join(f"{x.at.label} {short(x.cosine, '+.2f')}" for x in own[:n])
    null = next((x.null_high for x in own if x.null_high is not None), None)
    return words + (f" (null up to {null:.2f})" if words and null is not None else "")


def similar_words(found: Iterable[Similar], kind: str, pole: str, n: int) -> str:
    """The first similar neurons of one kind; in brackets the 95th percentile of the null."""
    own = sorted((x for x in found if x.kind == kind and x.pole == pole), key=lambda x: x.rank)[:n]
    form = "+.2f" if kind == "activation" else ".2f"
    words = ", ".join(f"{x.at.label}{x.other_pole} {short(x.value, form)}" for x in own)
    null = next((x.null_high for x in own if x.null_high is not None), None)
    return words + (f" (null up to {null:.2f})" if words and null is not None else "")


def cluster_words(m: Membership) -> str:
    """`3 "·is, ·are" of 24 neurons`, or noise."""
    if m.cluster < 0:
        return "noise: in no cluster"
    name = f" {visible(m.name)}" if m.name else ""
    return f"{m.cluster}{name}" + ("" if m.n_neurons is None else f", {m.n_neurons:,} neurons")


def meaning_sentence(m: Meaning) -> str:
    """How many meanings a pole has, beside windows of random neurons."""
    if m.effective_number is None and m.statistic is None:
        return f"too few strong windows ({m.n_windows or 0})"
    null = "" if m.null_effective_number is None else f" (random neurons {m.null_effective_number:.2f})"
    said = (
        f"effective number {short(m.effective_number, '.2f')}{null} in {m.n_groups or 0} groups of {m.n_windows or 0} "
    )
    tested = f"windows; statistic {short(m.statistic)}, null {short(m.null_mean)} ± {short(m.null_sd, '.2g')}"
    draws = "" if m.n_null is None else f", {m.n_null:,} draws"
    held = "" if m.held_out_statistic is None else f"; held out {m.held_out_statistic:.3g}"
    return f"{said}{tested}, p {shown_p(m.p, m.n_null, sides=2)}, q {short(m.q, '.2g')}{draws}{held}"


def group_words(g: MeaningGroup, n: int = _N_TOKENS) -> str:
    """The share of a group, and the tokens that set it apart."""
    tokens = " ".join(visible(t) for t in g.tokens[:n])
    return (f"{g.share:.0%} " if g.share is not None else "") + (tokens or "no token of its own")


def ngram_words(found: Sequence[NgramEffect], pole: str, n: int) -> str:
    """The first n-grams of a pole with effect and held-out effect, in standard deviations."""
    own = [x for x in found if x.pole == pole][:n]
    return ", ".join(f"{visible(x.text)} {short(x.effect, '+.1f')} ({_held_out(x)})" for x in own)


def _held_out(x: NgramEffect) -> str:
    known = x.held_out_effect is not None and math.isfinite(x.held_out_effect)
    return f"held out {x.held_out_effect:+.1f}" if known else "not held out"


def poles_of(known: AtLarge) -> list[str]:
    """The poles of which there are n-grams, or an empty pole."""
    return list(dict.fromkeys(x.pole for x in known.ngrams))
