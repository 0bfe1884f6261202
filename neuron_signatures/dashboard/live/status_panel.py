"""Memory and queue of the server, refreshed while the view is shown."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.api.models import DeviceMemory, Health, Memory
from neuron_signatures.dashboard.live.checks import check_numbers
from neuron_signatures.dashboard.live.connection import Connection, read_health
from neuron_signatures.dashboard.shell.panels import size
from neuron_signatures.dashboard.widgets.elements import as_html, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import brief

EVERY, EVERY_LOADING = 4.0, 1.0
"""Seconds between refreshes."""
_DRAWN = "live_status_of"
_STYLE = """<style>
.ns-mem{display:grid;grid-template-columns:max-content minmax(4rem,1fr);gap:.15rem .7rem;font-size:.8rem;
line-height:1.35;align-items:center}
.ns-mem .l{opacity:.75;overflow-wrap:anywhere;max-width:14rem}
.ns-mem .b{position:relative;height:.6rem;border-radius:3px;background:rgba(148,163,184,.25);overflow:hidden}
.ns-mem .b i{position:absolute;top:0;bottom:0;left:0}
.ns-mem .u{background:rgba(148,163,184,.8)}.ns-mem .s{background:rgb(52,211,153)}
.ns-mem .t{grid-column:2;opacity:.75}
</style>"""


def status_panel(connection: Connection) -> None:
    """Draw memory and queue, and draw the whole page again if the model changes."""
    loading = connection.state is not None and connection.state.state == "loading"
    st.fragment(_draw, run_every=EVERY_LOADING if loading else EVERY)(connection)


def _draw(connection: Connection) -> None:
    drawn = st.session_state.get(_DRAWN)
    st.session_state[_DRAWN] = id(connection)
    if drawn == id(connection):  # a refresh; at first the page has just asked
        now, _ = read_health(connection.client)
        if _changed(connection.health, now):
            st.rerun()
    memory = _memory(connection)
    if memory is None:
        small("Memory: not known.")
        return
    st.html(f'{_STYLE}<div class="ns-mem">{"".join(_rows(memory))}</div>')


def _changed(drawn: Health | None, now: Health | None) -> bool:
    if drawn is None or now is None:
        return drawn is not now
    return (drawn.started_at_utc, drawn.model) != (now.started_at_utc, now.model)


def _memory(connection: Connection) -> Memory | None:
    if connection.health is None:
        return None
    try:
        memory = connection.client.memory()
        check_numbers(memory)
    except ProjectError:
        return None
    return memory


def _rows(memory: Memory) -> list[str]:
    devices = [_bar(d, brief(f"{d.device} {d.name}".strip())) for d in memory.devices[:16]]
    weights = f"weights {size(memory.weights_bytes)}; " if memory.weights_bytes else ""
    waiting = count_of(memory.queue, "request") if memory.queue else "no request"
    return [*devices, _bar(memory.ram, "RAM"), _row("server", as_html(f"{weights}{waiting} in its queue"))]


def _bar(d: DeviceMemory, label: str) -> str:
    used = max(0, d.total - d.free)
    server = "" if d.used_by_server is None else f", of which {size(d.used_by_server)} by the server"
    text = as_html(f"{size(used)} of {size(d.total)} used{server}")
    parts = f'<i class="u" style="width:{_percent(used, d.total)}%"></i>'
    if d.used_by_server is not None:
        parts += f'<i class="s" style="width:{_percent(d.used_by_server, d.total)}%"></i>'
    return f'<span class="l">{as_html(label)}</span><span class="b">{parts}</span><span class="t">{text}</span>'


def _row(label: str, text: str) -> str:
    return f'<span class="l">{label}</span><span>{text}</span>'


def _percent(part: int, of: int) -> str:
    return f"{100 * min(max(part / of, 0.0), 1.0):.1f}" if of > 0 else "0"
