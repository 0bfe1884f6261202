"""The style of all figures, and escaping of text from data."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.runs.tokens import visible

EMERALD, ORANGE, GREY = "rgb(52,211,153)", "rgb(251,146,60)", "rgb(148,163,184)"
# Without orange, which is only for negative values.
LINES = ("#10b981", "#3b82f6", "#7c3aed", "#eab308", "#ec4899", "#06b6d4", "#84cc16", "#c084fc", "#ef4444", "#64748b")
TOOLBAR = 34
"""Height in pixels of plotly's buttons, which would otherwise cover the legend or the plot."""
# One hue per sign, nearly transparent in the middle, for light and dark themes.
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
    """Text from data, escaped for plotly, which interprets tags, entities and `$...$`."""
    shown = visible(text[: longest + 1])
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return html.escape(shown, quote=False).replace("$", "&#36;")


def token_ticks(tokens: Sequence[str]) -> list[str]:
    """Axis labels for the tokens of a prompt: position and token, which are unique."""
    return [f"{pos} {plot_text(token, 16)}" for pos, token in enumerate(tokens)]


def signed_colours(values: np.ndarray) -> list[str]:
    """Emerald for values from 0 on, orange for negative ones, grey for undefined ones."""
    return [EMERALD if v >= 0 else ORANGE if v < 0 else GREY for v in values.tolist()]


def styled(figure: go.Figure, *, height: int = 320, legend: bool = False) -> go.Figure:
    """Apply the project's style: small margins, no title, a row for plotly's buttons, and an optional legend above.

    `height` is that of the figure without the buttons.
    """
    figure.update_layout(
        height=height + TOOLBAR,
        margin={"l": 8, "r": 8, "t": TOOLBAR + (28 if legend else 0), "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0.0, "title": None},
        hoverlabel={"align": "left", "namelength": 40},
        colorway=list(LINES),
        dragmode="zoom",
        # keeps the zoom across reruns
        uirevision="kept",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
