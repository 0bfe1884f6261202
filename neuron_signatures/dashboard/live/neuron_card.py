"""One neuron on the live text: coloured tokens, and what the run says of it."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
import streamlit as st

from neuron_signatures.api.live import ActivationsRequest, NeuronRef
from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.edits import parse_neurons
from neuron_signatures.dashboard.live.focus_panel import Focus
from neuron_signatures.dashboard.live.keys import CHOSEN, EDITED
from neuron_signatures.dashboard.live.run_link import RunLink
from neuron_signatures.dashboard.live.texts import position_label
from neuron_signatures.dashboard.neuron.all_prompts import read_neuron
from neuron_signatures.dashboard.neuron.colouring import Colouring, colouring_of
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, Line, heatmap
from neuron_signatures.dashboard.widgets.elements import facts, small
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.sheets import signed_text, size_text
from neuron_signatures.views.scale import Limit

_SIDEBAR = "live_sidebar_neuron"
_TYPED, _TYPED_PROBLEM = "live_typed_neuron", "live_typed_problem"


class LiveActs(NamedTuple):
    """A neuron's activations on the live text; NaN where they are not finite."""

    at: NeuronAt
    values: np.ndarray


def neuron_card(model: LiveModel, link: RunLink, focus: Focus) -> None:
    """Draw the neuron that was chosen in a table or typed; nothing before one was."""
    _follow_sidebar(link)
    at = _chosen(model)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown("#### " + ("One neuron on this text" if at is None else f"{at.label} on this text"))
        st.text_input(
            "Go to", key=_TYPED, placeholder="L3N508", label_visibility="collapsed", width=130,
            on_change=_type, args=(model,),
        )  # fmt: skip
        if at is not None:
            st.button("Edit it", key="live_edit_this", on_click=_edit, args=(at, False),
                      help="Puts this neuron alone into the edit below.")  # fmt: skip
            st.button("Add to the edit", key="live_edit_add", on_click=_edit, args=(at, True))
            st.button(
                "Open in the Neuron view", key="live_open", on_click=lambda: link.ctx.open_stored(at),
                disabled=not link.stores(at),
                help="What the run has of it." if link.stores(at) else "The run does not hold this neuron.",
            )  # fmt: skip
    problem = st.session_state.pop(_TYPED_PROBLEM, "")
    if problem:
        st.code(problem, language=None, wrap_lines=True)
    if at is None:
        small("Click a row above, or type a neuron.")
        return
    _show(model, link, focus, at)


def _show(model: LiveModel, link: RunLink, focus: Focus, at: NeuronAt) -> None:
    request = ActivationsRequest(
        text=focus.asked.text, bos=focus.asked.bos, neurons=(NeuronRef(layer=at.layer, neuron=at.neuron),), top_k=0
    )
    found = model.ask(lambda c: c.activations, request)
    if [(n.layer, n.neuron) for n in found.neurons] != [tuple(at)]:
        raise UsageError("the server answered with another neuron")
    values = np.array([np.nan if a is None else a for a in found.neurons[0].acts], np.float32)
    acts = LiveActs(at, values)
    colouring, of_run = _colouring(link, acts)
    line = Line("", [t.token for t in focus.tokens], [t.token_id for t in focus.tokens], values, _counts(len(values)))
    st.html(heatmap([line], colouring, HeatmapOptions(normalise="run" if of_run else "prompt", decimals=2)))
    facts([*_live_facts(acts, focus), *_run_facts(link, acts, focus, colouring)])


def _counts(n: int) -> np.ndarray:
    """The first position has no colour, unless it is the only one."""
    counts = np.ones(n, bool)
    counts[0] = n == 1
    return counts


def _colouring(link: RunLink, acts: LiveActs) -> tuple[Colouring, bool]:
    """Colours on the scale of the run if it stores the neuron on prompts; else on that of this text."""
    if link.stores(acts.at) and link.ctx.has_prompts:
        try:
            neuron = read_neuron(link.ctx, acts.at, include_bos=False)
            return colouring_of(neuron.counted_values(), "activation"), True
        except ProjectError:  # the Neuron view reports it
            pass
    return Colouring("activation", None, Limit(0.0, 100.0, 0)), False


def _live_facts(acts: LiveActs, focus: Focus) -> list[tuple[str, str]]:
    here = float(acts.values[focus.pos])
    rows = [("live", f"act {signed_text(here) if math.isfinite(here) else 'not finite'} at position {focus.label}")]
    counted = np.where(_counts(len(acts.values)) & np.isfinite(acts.values), np.abs(acts.values), -1.0)
    if counted.max() >= 0:
        top = int(counted.argmax())
        where = f"{top} {focus.label.split('  ', 1)[-1]}" if top == focus.pos else _place(focus, top)
        rows.append(("", f"largest |act| of the text {signed_text(float(acts.values[top]))} at position {where}"))
    return rows


def _place(focus: Focus, pos: int) -> str:
    return position_label(focus.tokens, pos)


def _run_facts(link: RunLink, acts: LiveActs, focus: Focus, colouring: Colouring) -> list[tuple[str, str]]:
    """What the run says of the neuron, and whether its stored activations agree with the live ones."""
    if not link.is_same:
        return [("run", f"nothing: {link.why_not}")]
    rows: list[tuple[str, str]] = []
    spread = colouring.spread
    if spread is not None:
        rows.append(("run", f"mean {signed_text(spread.mean)}, std {size_text(spread.std)} over {spread.n:,} tokens of "
                            "its prompts, without first positions"))  # fmt: skip
    negative = bool(acts.values[focus.pos] < 0)
    for name, text in zip(("explanation", "promotes", "fires on"), link.describe(acts.at, negative), strict=True):
        if text:
            rows.append((f"run: {name}", f"{text}  (at {'-' if negative else '+'})"))
    agreement = stored_agreement(link, acts, focus)
    return [*rows, ("run: same text", agreement)] if agreement else rows


def stored_agreement(link: RunLink, acts: LiveActs, focus: Focus) -> str:
    """How far the live activations are from those that the run stored for the same tokens; empty without."""
    if not link.stores(acts.at):
        return ""
    run, ids = link.ctx.run, [t.token_id for t in focus.tokens]
    index = next((i for i, p in enumerate(run.prompts) if p.token_ids == ids), None)
    if index is None:
        return ""
    try:
        stored = cached_reads.values_of(run, link.ctx.data_key, *acts.at)[index].astype(np.float64)
    except ProjectError:
        return ""
    live = acts.values.astype(np.float64)
    both = np.isfinite(stored) & np.isfinite(live)
    if not both.any():
        return ""
    largest, far = float(np.abs(stored[both]).max()), float(np.abs(live - stored)[both].max())
    m = run.manifest
    share = f", {100 * far / largest:.2g} % of the largest |act|" if largest else ""
    return (
        f"prompt {index} of the run; its activations, stored as {m.save_dtype}, differ from the live ones by at most "
        f"{size_text(far)}{share}"
    )


def _follow_sidebar(link: RunLink) -> None:
    """Show the neuron of the sidebar when it is another than before."""
    at = link.ctx.at
    if link.is_same and st.session_state.get(_SIDEBAR) != at:
        st.session_state[_SIDEBAR] = st.session_state[CHOSEN] = at


def _chosen(model: LiveModel) -> NeuronAt | None:
    """The neuron of the session, if the live model has it."""
    at = cast(NeuronAt | None, st.session_state.get(CHOSEN))
    if at is None or at.layer >= model.facts.n_layers or at.neuron >= model.facts.d_mlp:
        return None
    return at


def _type(model: LiveModel) -> None:
    text = str(st.session_state.get(_TYPED) or "")
    if not text.strip():
        return
    try:
        st.session_state[CHOSEN] = parse_neurons(text, model.facts)[0]
    except UsageError as e:
        st.session_state[_TYPED_PROBLEM] = e.line()
    st.session_state[_TYPED] = ""


def _edit(at: NeuronAt, add: bool) -> None:
    now = str(st.session_state.get(EDITED) or "").strip().rstrip(",")
    st.session_state[EDITED] = f"{now}, {at.label}" if add and now else at.label
