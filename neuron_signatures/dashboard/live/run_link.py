"""How the neurons of the live model relate to those of the run: what the run says of them, and its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.server_at import LiveClient
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import shown_tokens
from neuron_signatures.views.records.commands import has_records

_KNOWN_SECONDS = 30.0
_KNOWN = "live_run_there"
_NOTHING = ("", "", "")


@dataclass(frozen=True)
class RunLink:
    """`is_same`: the live model has the neurons of the run. `on_server`: its name there, empty if it is not there."""

    ctx: PageContext
    is_same: bool
    on_server: str
    why_not: str
    """Why there are no statistics of the run; empty if there are."""

    @property
    def mean_of(self) -> str:
        """The tokens over which means of the run are taken: those of its corpus, else of its prompts. As requests name
        them; empty without."""
        if not self.on_server:
            return ""
        return f"{'records' if has_records(self.ctx.run_dir) else 'run'}:{self.on_server}"

    def describe(self, at: NeuronAt, negative: bool) -> Sequence[str]:
        """Its explanation, the tokens it promotes, and where it fires; empty texts if the run does not say."""
        if not self.is_same:
            return _NOTHING
        pole: Pole = "-" if negative else "+"
        try:
            found = cached_reads.descriptions(self.ctx.run_dir, self.ctx.results_key).of(at, negative=negative)
        except ProjectError:  # the views of these results report it
            return _NOTHING
        explained = explained_in_words(self.ctx, [NeuronPole(*at, pole)])[0]
        return explained, shown_tokens(found.promotes), found.fires

    def stores(self, at: NeuronAt) -> bool:
        return self.is_same and self.ctx.run.stores(*at)


def link_to_run(ctx: PageContext, model: LiveModel) -> RunLink:
    """Compare the live model with that of the run, and look for the run on the server."""
    why = texts.why_another(ctx.run.manifest, model.facts)
    if why:
        return RunLink(ctx, False, "", why)
    why = _why_not_there(ctx, model)
    return RunLink(ctx, True, "" if why else ctx.selection.run, why)


def _why_not_there(ctx: PageContext, model: LiveModel) -> str:
    """Why the server has no copy of this run; empty if it has one. Not asked without a connection."""
    known: dict[str, str] = st.session_state.setdefault(_KNOWN, {})
    name = ctx.selection.run
    if not model.is_reachable:
        return known.get(name, "the server is not reachable")
    try:
        why = _why_other(model.identity[:2], ctx.data_key, name, model.client, ctx.run.manifest)
    except ProjectError as e:  # not kept, as it may be over
        why = e.line()
    else:
        why = f"{why}; start it with --runs_root {ctx.run_dir.parent}" if why else ""
    known[name] = why
    return why


@st.cache_data(show_spinner=False, ttl=_KNOWN_SECONDS, max_entries=16)
def _why_other(server: tuple[str, ...], data_key: str, name: str, _client: LiveClient, _manifest: Manifest) -> str:
    """Why the server's run of this name is not this one; empty if it is. Raises `ServerProblem`."""
    from neuron_signatures.client.run_search import OtherRunError, check_same_run  # imports the network library

    try:
        check_same_run(_client, name, _manifest)
    except OtherRunError as e:
        return e.what
    return ""
