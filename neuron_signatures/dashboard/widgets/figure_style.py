"""What all figures share: the look, and how text from data is put into one."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from neuron_signatures.runs.tokens import visible

EMERALD, ORANGE, GREY = "rgb(52,211,153)", "rgb(251,146,60)", "rgb(148,163,184)"
LINES = ("#10b981", "#f97316", "#6366f1", "#eab308", "#ec4899", "#06b6d4", "#84cc16", "#a855f7", "#ef4444", "#64748b")
# Of one hue on each side and nearly clear in the middle, so that it reads on a light and on a dark page.
SIGNED_SCALE = [
    [0.0, "rgba(251,146,60,1)"],
    [0.5, "rgba(251,146,60,0.04)"],
    [0.5, "rgba(52,211,153,0.04)"],
    [1.0, "rgba(52,211,153,1)"],
]
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}


def plot_text(text: str, longest: int = 60) -> str:
    """A token or other text from data so that plotly shows it literally.

    Plotly reads tags, entities and `$...$` in every text that it draws.
    """
    shown = visible(text)
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return html.escape(shown, quote=False).replace("$", "&#36;")


def token_ticks(tokens: Sequence[str]) -> list[str]:
    """Labels of an axis over the tokens of a prompt: position, then token, so that equal tokens stay apart."""
    return [f"{pos} {plot_text(token, 16)}" for pos, token in enumerate(tokens)]


def styled(figure: go.Figure, *, height: int = 320, legend: bool = False) -> go.Figure:
    """The house's look: little margin, no title of its own, a legend above the plot where one is needed."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28 if legend else 8, "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0.0, "title": None},
        hoverlabel={"align": "left", "namelength": 40},
        colorway=list(LINES),
        dragmode="zoom",
        # Plotly scrolls the page's zoom otherwise; uirevision keeps a zoom over a rerun.
        uirevision="kept",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
