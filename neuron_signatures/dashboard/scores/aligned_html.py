"""Windows with the true activation of each token above the simulated one, as escaped HTML; each opens on a click."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from neuron_signatures.dashboard.neuron.heatmap import DARK_TEXT_FROM, NEGATIVE, POSITIVE, opacity
from neuron_signatures.dashboard.widgets.elements import as_html
from neuron_signatures.runs.scores.line import StoredMistake
from neuron_signatures.runs.scores.names import SampleName
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.explanations.texts import one_line, status_words
from neuron_signatures.views.records.passages import AROUND
from neuron_signatures.views.scores.mistakes import ShownMistake
from neuron_signatures.views.scores.windows import AlignedWindow

SIMULATED, OTHER = "96,165,250", "148,163,184"
TITLES: dict[SampleName, str] = {
    "top": "Strongest windows", "random": "Random windows", "uniform": "Windows of the uniform sample",
    "sixty": "The design of sixty examples", "mistake": "Windows where the explanation fails",
}  # fmt: skip
STYLE = """<style>
.ns-sim{font-size:.88rem;line-height:1.35}
.ns-sim details{border-top:1px solid rgba(148,163,184,.25);padding:.4rem 0}
.ns-sim summary{cursor:pointer;list-style:none}
.ns-sim summary::-webkit-details-marker{display:none}
.ns-sim .r{display:flex;flex-wrap:wrap;gap:3px 1px}
.ns-sim .c{display:inline-flex;flex-direction:column;min-width:.5rem}
.ns-sim .c span{display:block;padding:0 2px;border-radius:3px 3px 0 0;white-space:pre;min-height:1.3em;
font-family:"Source Code Pro",ui-monospace,monospace;font-size:.92em;overflow-wrap:anywhere}
.ns-sim .c i{display:block;height:.62rem;border-radius:0 0 3px 3px;border-top:1px solid rgba(148,163,184,.35)}
.ns-sim .c.x{opacity:.45}
.ns-sim .c.w{outline:2px dotted currentColor;outline-offset:0}
.ns-sim .f,.ns-sim details[open] .e{display:none}
.ns-sim details[open] .f{display:inline-flex}
.ns-sim .m{font-size:.75rem;opacity:.7;overflow-wrap:anywhere}
.ns-sim .h{font-size:.8rem;font-weight:600;margin:.9rem 0 .2rem}
.ns-sim .k{display:flex;flex-wrap:wrap;align-items:center;gap:.15rem .5rem;font-size:.8rem;opacity:.9}
.ns-sim .k i{display:inline-block;width:5rem;height:.7rem;border-radius:3px}
.ns-sim .miss b{border-radius:3px;padding:0 3px;outline:2px dotted currentColor;white-space:pre-wrap}
</style>"""


def windows_html(windows: Sequence[AlignedWindow], *, full: bool = False) -> str:
    """Windows by sample, with a title each; `full` opens them all."""
    samples = dict.fromkeys(w.sample for w in windows)
    body = "".join(_group(TITLES[s], [w for w in windows if w.sample == s], full=full) for s in samples)
    return f'{STYLE}<div class="ns-sim">{body}</div>'


def key_html() -> str:
    """What the two rows and their colours are."""
    true, other, said = (_scale(c) for c in (POSITIVE, NEGATIVE, SIMULATED))
    return (
        f'{STYLE}<div class="ns-sim"><div class="k"><span>upper row: true activation</span>{true}<span>positive</span>'
        f"{other}<span>negative; full colour: the neuron's strongest of the pole</span></div>"
        f'<div class="k"><span>lower row: simulated</span>{said}<span>full colour: the largest prediction for this '
        "explanation; dotted outline: a stored mistake</span></div></div>"
    )


def mistake_html(m: ShownMistake) -> str:
    """The token in its context, with what was predicted and what the neuron did."""
    numbers = (
        f"{m.kind}: predicted {m.predicted:.0%} of the largest prediction, was {m.actual:.0%} of the largest activation"
    )
    if not m.tokens:
        place = f"window {m.window:,}, position {m.pos}; the records have no such text"
        return f'{STYLE}<div class="ns-sim miss"><div class="m">{numbers} ({place})</div></div>'
    colour = SIMULATED if m.predicted > m.actual else POSITIVE if m.at.pole == "+" else NEGATIVE
    text = "".join(map(_in_text, m.before)), _in_text(m.token), "".join(map(_in_text, m.after))
    return (
        f'{STYLE}<div class="ns-sim miss">{text[0]}<b style="background:rgba({colour},.55)">{text[1]}</b>{text[2]}'
        f'<div class="m">{numbers} · {as_html(brief(m.document_name))}</div></div>'
    )


def _in_text(token: str) -> str:
    return html.escape(visible(token).replace("·", " ")) if token.strip() else html.escape(visible(token))


def _group(title: str, windows: Sequence[AlignedWindow], *, full: bool) -> str:
    return f'<div class="h">{html.escape(title)}</div>' + "".join(_window(w, full=full) for w in windows)


def _window(w: AlignedWindow, *, full: bool) -> str:
    if not w.tokens:
        return (
            f'<details><summary><div class="m">window {w.window:,}: {html.escape(w.problem)}</div></summary></details>'
        )
    start, stop = _short(w)
    cells = [_cell(w, i) for i in range(len(w.tokens))]
    parts = _hidden(cells[:start]), "".join(cells[start:stop]), _hidden(cells[stop:])
    return (
        f'<details{" open" if full else ""}><summary><div class="r">{"".join(parts)}</div>'
        f'<div class="m">{_note(w)}</div></summary></details>'
    )


def _hidden(cells: Sequence[str]) -> str:
    """Tokens that only the full text has; an ellipsis in the short one."""
    if not cells:
        return ""
    later = "".join(c.replace('class="c', 'class="f c', 1) for c in cells)
    return f'<span class="c e"><span>…</span><i></i></span>{later}'


def _short(w: AlignedWindow) -> tuple[int, int]:
    """The tokens of the short form: around the mistake, else the largest true activation, else the prediction."""
    shares = w.true_shares if w.true_shares is not None else w.predicted_shares
    counted = np.abs(shares[w.counted_from :]) if shares is not None else np.empty(0)
    focus = int(counted.argmax()) + w.counted_from if len(counted) else 0
    if w.sample == "mistake" and w.mistakes:
        focus = w.mistakes[0].pos - w.first
    return max(focus - AROUND, 0), min(focus + AROUND + 1, len(w.tokens))


def _note(w: AlignedWindow) -> str:
    failed = "" if w.status == "ok" else f"not simulated: {status_words(w.status)}"
    why = f"{failed} ({one_line(w.reason)})" if failed and w.reason else failed
    part = "" if w.part is None else w.part
    notes = [part, brief(w.document_name), why, w.problem]
    return " · ".join(as_html(n) for n in notes if n)


def _cell(w: AlignedWindow, i: int) -> str:
    mistake = next((m for m in w.mistakes if m.pos == w.first + i), None)
    token = visible(w.tokens[i]) or "\u200a"
    classes = "c" + (" x" if i < w.counted_from else "") + (" w" if mistake is not None else "")
    true = None if w.true_shares is None else float(w.true_shares[i])
    said = None if w.predicted_shares is None else float(w.predicted_shares[i])
    upper = _shade(true, POSITIVE, NEGATIVE)
    lower = "" if w.predicted is None or said is None else _shade(np.sign(w.predicted[i]) * abs(said), SIMULATED, OTHER)
    return (
        f'<span class="{classes}" title="{html.escape(_hover(w, i, mistake))}"><span{upper}>{html.escape(token)}</span>'
        f"<i{lower}></i></span>"
    )


def _shade(share: float | None, positive: str, negative: str) -> str:
    if share is None or not np.isfinite(share) or share == 0:
        return ""
    alpha = opacity(abs(share))
    ink = ";color:#111" if alpha >= DARK_TEXT_FROM else ""
    return f' style="background:rgba({positive if share > 0 else negative},{alpha:.3f}){ink}"'


def _hover(w: AlignedWindow, i: int, mistake: StoredMistake | None) -> str:
    parts = [f"position {w.first + i}"]
    if w.true is not None and w.true_shares is not None:
        parts.append(f"act {w.true[i]:+.4g} ({abs(w.true_shares[i]):.0%} of the strongest)")
    if w.predicted is not None and w.predicted_shares is not None:
        parts.append(f"simulated {w.predicted[i]:.4g} ({abs(w.predicted_shares[i]):.0%} of the largest)")
    if i < w.counted_from:
        parts.append("excluded")
    if mistake is not None:
        parts.append(f"mistake: predicted {mistake.predicted:.0%}, was {mistake.actual:.0%}")
    return ", ".join(parts)


def _scale(colour: str) -> str:
    stops = ",".join(f"rgba({colour},{opacity(i / 10) if i else 0.05:.2f})" for i in range(11))
    return f'<i style="background:linear-gradient(to right,{stops})"></i>'
