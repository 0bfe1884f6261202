"""How the neurons of the live model relate to those of the run: what the run says of them, and its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.checks import check_numbers
from neuron_signatures.dashboard.live.server_at import LiveClient
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import shown_tokens

_LISTED_SECONDS = 30.0
_NOTHING = ("", "", "")


@dataclass(frozen=True)
class RunLink:
    """`is_same`: the live model has the neurons of the run. `on_server`: its name there, empty if it is not there."""

    ctx: PageContext
    is_same: bool
    on_server: str
    why_not: str
    """Why there are no statistics of the run; empty if there are."""

    def describe(self, at: NeuronAt, negative: bool) -> Sequence[str]:
        """The tokens it promotes, where it fires, and its explanation; empty texts if the run does not say."""
        if not self.is_same:
            return _NOTHING
        pole: Pole = "-" if negative else "+"
        try:
            found = cached_reads.descriptions(self.ctx.run_dir, self.ctx.results_key).of(at, negative=negative)
        except ProjectError:  # the views of these results report it
            return _NOTHING
        explained = explained_in_words(self.ctx, [NeuronPole(*at, pole)])[0]
        return shown_tokens(found.promotes), found.fires, explained

    def stores(self, at: NeuronAt) -> bool:
        return self.is_same and self.ctx.run.stores(*at)


def link_to_run(ctx: PageContext, model: LiveModel) -> RunLink:
    """Compare the live model with that of the run, and look for the run on the server."""
    why = texts.why_another(ctx.run.manifest, model.facts)
    if why:
        return RunLink(ctx, False, "", why)
    name, m = ctx.selection.run, ctx.run.manifest
    if model.is_reachable:
        try:
            there = _runs(model.identity[:2], model.client)
        except ProjectError as e:
            return RunLink(ctx, True, "", f"the server does not list its runs: {e.line()}")
        st.session_state["live_runs"] = there
    same = (name, m.created_at_utc, m.model_name) in st.session_state.get("live_runs", ())
    why = "" if same else f"the server has no copy of this run; start it with --runs_root {ctx.run_dir.parent}"
    return RunLink(ctx, True, name if same else "", why)


@st.cache_data(show_spinner=False, ttl=_LISTED_SECONDS, max_entries=4)
def _runs(server: tuple[str, ...], _client: LiveClient) -> frozenset[tuple[str, str, str]]:
    """Name, time of creation and model of the server's runs."""
    found = _client.runs()
    check_numbers(found)
    return frozenset((r.name, r.created_at_utc, r.model_name) for r in found.runs)
