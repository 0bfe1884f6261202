"""What a neuron writes and where it fires, in a few lines at the top of its page."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import as_html
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.results import WRITES
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.facts import Signature
from neuron_signatures.views.neurons.writes import WriteScores, Written

_STYLE = """<style>
.ns-sum{display:grid;grid-template-columns:max-content 1fr;gap:.3rem .9rem;font-size:.9rem;line-height:1.6}
.ns-sum .l{opacity:.65;white-space:nowrap}.ns-sum .v{overflow-wrap:anywhere}
.ns-sum .c{display:inline-block;font-family:"Source Code Pro",ui-monospace,monospace;font-size:.85rem;
line-height:1.35;padding:0 .4rem;margin:0 .25rem .1rem 0;border:1px solid rgba(148,163,184,.6);border-radius:.6rem}
.ns-sum .s{border-style:dashed}.ns-sum .w{opacity:.65;margin:0 .35rem 0 .1rem}
</style>"""
_MOST, _TOP = 8, 5
"""Tokens that are written, and that the neuron fires on."""
_LONGEST = 40
"""Characters of a token that are shown."""
_LONGEST_TEXT = 240
"""Characters of an explanation that are shown."""


class Summary(NamedTuple):
    """A neuron's results, as far as the run has them."""

    pole: int
    """The sign of the largest |act| over the run; 1 without a value."""
    writes: WriteScores | None
    signatures: tuple[Signature, ...] | None
    """None if they have not been computed or cannot be read."""
    top_tokens: tuple[list[tuple[str, float]], list[tuple[str, float]]]
    """Without signatures, the distinct tokens with the largest positive, and the largest negative, activations."""
    explained: tuple[str, str] = ("", "")
    """The explanation to read of + and of -, escaped; empty without one."""


def summary_of(ctx: PageContext, at: NeuronAt, neuron: NeuronOnRun) -> Summary:
    """Results that cannot be read are left out: the panels below report the errors."""
    s = neuron.over_run
    pole = -1 if s.max is not None and s.min is not None and -s.min > s.max else 1
    writes, signatures = None, None
    with contextlib.suppress(ProjectError):
        found = cached_reads.write_scores_at(ctx.run_dir, ctx.results_key, at)
        if found and found[0].source != WRITES:  # lists have their own; those of the weights are for no prompt
            writes = cached_reads.writes_at(ctx.run_dir, ctx.results_key, at)
        writes = writes or next(iter(found), None)
    with contextlib.suppress(ProjectError):
        signatures = tuple(cached_reads.signatures_at(ctx.run_dir, ctx.results_key, at))
    tops = ([], []) if signatures else (neuron.top_tokens(1, _TOP), neuron.top_tokens(-1, _TOP))
    high, low = explained_in_words(ctx, [NeuronPole(*at, "+"), NeuronPole(*at, "-")])
    return Summary(pole, writes, signatures, tops, (high, low))


def show_summary(summary: Summary, *, explained: bool = True) -> None:
    """Draw it, with the explanations unless they are shown in full elsewhere."""
    summary = summary if explained else summary._replace(explained=("", ""))
    st.html(f'{_STYLE}<div class="ns-sum">{"".join(_rows(summary))}</div>')


def _rows(s: Summary) -> list[str]:
    sign = "+" if s.pole > 0 else "-"
    rows = []
    for name, text in list(zip(("+", "-"), s.explained, strict=True))[:: s.pole]:
        if text:
            cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"
            rows.append(_row(f"explained at {name}", as_html(cut), _EXPLAINED_HELP))
    if s.writes is not None:
        promotes, suppresses = s.writes.promotes, s.writes.suppresses
        if s.pole < 0:
            promotes, suppresses = suppresses, promotes
        chips = _words("promotes", _tokens(promotes[:_MOST]))
        chips += _words("suppresses", _tokens(suppresses[:_MOST], "c s"))
        rows.append(_row(f"writes at {sign}", chips, _WRITES_HELP))
    signatures = sorted(s.signatures or (), key=lambda g: g.pole != sign)
    for g in signatures:
        rows.append(_row(f"fires at {g.pole}", as_html(signature_line(g)), _FIRES_HELP))
    tops = list(zip(("+", "-"), s.top_tokens, strict=True))[:: s.pole]
    for name, tokens in tops:
        if tokens:
            rows.append(_row(f"fires at {name}", "".join(_chip(t, f"{v:+.4g}") for t, v in tokens), _FIRES_HELP))
    return rows


_WRITES_HELP = (
    "The tokens whose logits the neuron raises and lowers most where its activation has this sign, that of its "
    "largest |act| over the run. The other sign swaps the two."
)
_EXPLAINED_HELP = "What the neuron is active on at activations of this sign, in words, and which set says so."
_FIRES_HELP = "Where activations of this sign peak over the prompts of the run."


def _row(label: str, value: str, help: str) -> str:
    """`value` is HTML; the others are our own text."""
    return f'<span class="l" title="{as_html(help)}">{label}</span><span class="v">{value}</span>'


def _words(word: str, chips: str) -> str:
    return f'<div><span class="w">{word}</span>{chips}</div>' if chips else ""


def _tokens(written: Sequence[Written], kind: str = "c") -> str:
    return "".join(_chip(w.token, f"id {w.token_id}, {w.score:+.4g} per unit of activation", kind) for w in written)


def _chip(token: str, hover: str, kind: str = "c") -> str:
    return f'<span class="{kind}" title="{as_html(hover)}">{as_html(visible(token[:_LONGEST])) or "&nbsp;"}</span>'


def signature_line(s: Signature) -> str:
    """One pole as a sentence, without undefined numbers."""
    if s.n_active == 0:
        return "never active"
    n = "" if s.cls == "unclassified" else f" (n {s.n_texts})"
    parts = [brief(s.cls) + (f' "{visible(s.name)}"' if s.name else "") + n]
    if s.mode_peak_token is not None and s.consistency is not None:
        share = f"{s.consistency:.0%}" + ("" if s.low is None or s.high is None else f" ({s.low:.0%} to {s.high:.0%})")
        token = f'"{visible(s.mode_peak_token)}"' if s.mode_peak_token else "white space"  # stored without spaces
        parts.append(f"peaks most often on {token}, {share} of {count_of(s.n_texts, 'different text')}")
    peak = "" if s.max_peak is None else f", largest peak {s.max_peak:.4g}"
    parts.append(f"active in {count_of(s.n_active, 'prompt')}{peak}")
    if s.func_vs_sem is not None:
        parts.append(f"on functional tokens {s.func_vs_sem:.0%}")
    return "; ".join(parts)
