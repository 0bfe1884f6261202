"""The page: opens the selected run, draws the sidebar and one view, and updates the address."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_explanations import replaced_logs
from neuron_signatures.dashboard.live.server_at import ServerAt
from neuron_signatures.dashboard.shell.first_selection import (
    default_selection,
    in_list,
    with_result,
    with_row,
    without_lost_list,
)
from neuron_signatures.dashboard.shell.page_context import MOVED, SELECTION, PageContext
from neuron_signatures.dashboard.shell.panels import dump_command, no_prompts, start_command
from neuron_signatures.dashboard.shell.sidebar import choose_run, sidebar
from neuron_signatures.dashboard.shell.state import MANUAL, Selection, View, address, address_of, resolve
from neuron_signatures.dashboard.widgets.elements import empty, show_error, show_lines
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.listing import RunSummary
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.results import INTERVENTIONS
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.under_root import run_folder
from neuron_signatures.views.changes import (
    Stamp,
    analysis_stamps,
    at_large_stamps,
    changed,
    circuit_stamps,
    explanation_stamps,
    intervention_stamps,
    records_stamps,
    run_stamps,
    score_stamps,
    search_stamps,
    skill_stamps,
)
from neuron_signatures.views.lists.ranked import ListRef

_WITHOUT_PROMPTS = (View.OVERVIEW, View.NEURON, View.RANKING, View.QUERY, View.EXPLANATIONS, View.SCORES, View.SKILLS,
                    View.WEIGHTS, View.CLUSTERS, View.DRIFT, View.LIVE, View.SEARCH, View.CIRCUIT)  # fmt: skip
"""The views that show a run without prompts."""
_TITLES = {view: view.value.capitalize() for view in View}
_SIDEBAR = 320
"""Width in pixels."""
# The first rules reduce the margins, and let the columns of narrow windows stand below each other. The last hides the
# CSV button in the toolbar of tables, which does not escape formulas; Streamlit 1.67's `client.disableDataExport` would
# also disable copying cells.
_STYLE = """<style>.stMainBlockContainer{padding:4rem 2.4rem 4rem}
.st-key-compare_columns [data-testid="stColumn"]{min-width:14rem}
@media (max-width:900px){.stMainBlockContainer{padding:4rem 1rem 4rem}
.stMain [data-testid="stColumn"]{min-width:15rem}
[class*="st-key-controls"] [data-testid="stColumn"]{min-width:9rem}}
.st-key-view button{padding:.2rem .3rem!important}.st-key-view button p{font-size:.85rem}
[data-testid="stElementToolbarButton"]:has(button[aria-label^="Download as CSV"]){display:none!important}</style>"""
_SEEN = "seen"
_WRITTEN = "written"
_PROBLEMS = "problems"
_LOST = "lost_list"
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class _Added(NamedTuple):
    """Stamps of the folders whose logs other processes add to."""

    explanations: dict[str, Stamp]
    scores: dict[str, Stamp]


def show(root: Path, run_name: str | None, server: ServerAt | None = None) -> None:
    """Draw the page; Streamlit calls this for every interaction. `run_name` is the initial run.

    `server` is that of the view Live, by default the usual address.
    """
    st.set_page_config(page_title="neuron signatures", layout="wide", initial_sidebar_state=_SIDEBAR)
    st.html(_STYLE)
    _keep_widget_state()
    _warn_if_served_to_others()
    try:
        _show(root, run_name, server or ServerAt())
    except (ProjectError, OSError) as e:
        show_error(e)


def _show(root: Path, run_name: str | None, server: ServerAt) -> None:
    _follow_address()
    summaries = cached_reads.runs_under(root)
    wanted = _wanted_run(root, summaries, run_name)
    name = choose_run(root, summaries, wanted)
    if name is None and Run.is_complete(root):
        empty("This folder is a run. Start with its parent folder:", start_command(root.parent, root.name))
        return
    if name is None:
        if summaries:
            empty("Select a run on the left.")
        else:
            hint = "This command creates a run with the included demo model; reload the page afterwards."
            empty("This folder has no runs yet.", dump_command(root / "first"), hint)
        return
    with cached_reads.open_run(run_folder(root, name)) as run:
        _show_run(run, name, server)


def _show_run(run: Run, name: str, server: ServerAt) -> None:
    files, results = run_stamps(run), _result_stamps(run.path)
    data_key, results_key = cached_reads.key_of(run.path, files), cached_reads.key_of(run.path, results)
    lists = cached_reads.lists_of(run, data_key, results_key)
    selection = _selection(run, name, lists, data_key, results_key)
    added = _Added(explanation_stamps(run.path), score_stamps(run.path))
    explanations_key, scores_key = (cached_reads.key_of(run.path, stamps) for stamps in added)
    ctx = PageContext(run, selection, lists, data_key, results_key, explanations_key, scores_key, server)
    st.segmented_control(
        "View", _views(selection), format_func=_TITLES.__getitem__, key="view", label_visibility="collapsed",
        required=True, on_change=lambda: ctx.choose(view=st.session_state["view"]),
    )  # fmt: skip
    problems = st.session_state.pop(_PROBLEMS, [])
    show_lines("Parts of this page's address are invalid; the defaults are shown instead.", problems[:8])
    _show_lost_list(selection)
    if _changed(name, files, results, added):
        return
    doubts = [f"{r.stem}: {r.doubt}" for r in lists if r.doubt]
    show_lines("These results may not describe the activations of this run. Run stage 2 again.", doubts)
    sidebar(ctx)
    st.session_state[_WRITTEN] = params = address(selection, run)
    if st.query_params.to_dict() != params:
        st.query_params.from_dict(params)
    if not run.prompts and selection.view not in _WITHOUT_PROMPTS:
        no_prompts(run)
        return
    module = importlib.import_module(f"neuron_signatures.dashboard.pages.{selection.view.value}")
    module.render(ctx)


def _result_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the results of all stages that are shown."""
    interventions = {f"{INTERVENTIONS}/{name}": s for name, s in intervention_stamps(run_dir).items()}
    records = {f"{RECORDS}/{name}": s for name, s in records_stamps(run_dir).items()}
    skills = {f"{SKILLS}/{name}": s for name, s in skill_stamps(run_dir).items()}
    index = {f"{SEARCH}/{name}": s for name, s in search_stamps(run_dir).items()}
    return {
        **analysis_stamps(run_dir),
        **interventions,
        **records,
        **skills,
        **index,
        **at_large_stamps(run_dir),
        **circuit_stamps(run_dir),
    }


def _views(selection: Selection) -> list[View]:
    """The views to choose from; without pinned neurons there is nothing to compare."""
    compares = bool(selection.pins) or selection.view is View.COMPARE
    return [view for view in View if compares or view is not View.COMPARE]


def _follow_address() -> None:
    """Forget the selection if the user changed the address (back button, or edited)."""
    written, moved = st.session_state.get(_WRITTEN), st.session_state.pop(MOVED, False)
    now = st.query_params.to_dict()
    if written is not None and not moved and now and now != written:
        for key in (SELECTION, _WRITTEN, "run"):
            st.session_state.pop(key, None)


def _wanted_run(root: Path, summaries: list[RunSummary], run_name: str | None) -> str | None:
    """The session's run; initially the one in the address, else the flag's, else the newest complete run."""
    now: Selection | None = st.session_state.get(SELECTION)
    if now is not None:
        return now.run
    if st.session_state.get("run"):
        return cast(str, st.session_state["run"])
    for name in (address_of(st.query_params).get("run"), run_name):
        if name is None:
            continue
        try:
            run_folder(root, name)
            return name
        except ProjectError as e:
            st.session_state.setdefault(_PROBLEMS, []).append(e.line())
    complete = [s for s in summaries if s.status == "complete"]
    return max(complete, key=lambda s: s.created_at_utc).name if complete else None


def _selection(run: Run, name: str, lists: tuple[ListRef, ...], data_key: str, results_key: str) -> Selection:
    """The session's selection; taken from the address initially and when another run is selected."""
    now: Selection | None = st.session_state.get(SELECTION)
    if now is None or now.run != name:
        default = default_selection(run, name, lists, data_key, results_key)
        default = replace(default, view=_landing(default) if now is None else now.view)
        linked = address_of(st.query_params)
        linked = linked if linked.get("run", name) == name else {}
        resolved = resolve(linked, run, default, [r.stem for r in lists])
        now, more = in_list(run, lists, results_key, linked, resolved.selection)
        st.session_state.setdefault(_PROBLEMS, []).extend([*resolved.problems, *more])
    if not run.stores(*now.at) or now.prompt >= max(1, len(run.prompts)):  # the run may have been replaced
        now = replace(default_selection(run, name, lists, data_key, results_key), view=now.view)
    now = replace(now, pins=tuple(at for at in now.pins if run.stores(*at)))
    followed = without_lost_list(lists, now)
    if followed != now:
        st.session_state[_LOST] = (now.list, name, now.at)
    now = with_row(run, lists, results_key, followed)
    if now.view is View.INTERVENTIONS:
        refs = cached_reads.interventions(run, data_key, results_key)
        now, problems = with_result(refs, now)
        st.session_state.setdefault(_PROBLEMS, []).extend(problems)
    st.session_state[SELECTION] = now
    st.session_state["view"] = now.view
    return now


def _landing(default: Selection) -> View:
    """The initial view: the ranking of the default list; without one, the run and the commands that rank neurons."""
    return View.OVERVIEW if default.list == MANUAL else View.RANKING


def _changed(name: str, files: dict[str, Stamp], results: dict[str, Stamp], added: _Added) -> bool:
    """Report the files that changed since this session opened the run. Lines that are added to logs are not reported.

    True if activations changed, in which case the page shows nothing until it is reloaded.
    """
    now = (name, files, results, added)
    before = st.session_state.get(_SEEN)
    if before is None or before[0] != name:
        st.session_state[_SEEN] = before = now
    replaced = [f"{EXPLANATIONS}/{log}" for log in replaced_logs(before[3].explanations, added.explanations)]
    replaced += [f"{SCORES}/{log}" for log in replaced_logs(before[3].scores, added.scores)]
    changes = changed(before[1], files) + changed(before[2], results) + replaced
    if not changes:
        return False
    st.warning("Files of this run changed on disk since the page was opened.")
    st.text(", ".join(changes[:8]) + (f" and {len(changes) - 8} more" if len(changes) > 8 else ""))
    st.button("Reload", key="reload", type="primary", on_click=lambda: st.session_state.update({_SEEN: now}))
    return any(n in files or n in before[1] for n in changes)


def _show_lost_list(selection: Selection) -> None:
    """Report that the selected list no longer exists, until something else is selected."""
    stem, *where = st.session_state.get(_LOST, (None,))
    if stem is None:
        return
    if selection.list != MANUAL or where != [selection.run, selection.at]:
        del st.session_state[_LOST]
        return
    show_lines("The selected list no longer exists or cannot be read. The selection is now manual.", [stem])


def _keep_widget_state() -> None:
    """Keep the state of widgets with a key `ui_*`, which Streamlit drops when a view does not draw them.

    Streamlit 1.67 itself drops values that are no longer an option.
    """
    for key in [k for k in st.session_state if str(k).startswith("ui_")]:
        st.session_state[key] = st.session_state[key]


def _warn_if_served_to_others() -> None:
    host = st.config.get_option("server.address")
    if host not in _LOCAL_HOSTS:
        st.warning(
            "This page is accessible from other machines: anyone who can reach the port can read the runs, add to "
            "their explanations, and change the groups of their circuits."
        )
        st.code("streamlit run neuron_signatures/eda_streamlit.py --server.address 127.0.0.1", language="bash")
