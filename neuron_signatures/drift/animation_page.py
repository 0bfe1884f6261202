"""The page of the animation: its HTML and style. `{{NAME}}` are filled by `animation`."""

from __future__ import annotations

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; script-src '{{SCRIPT_HASH}}';
style-src '{{STYLE_HASH}}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="neuron-signatures drift">
<title>Drift of neurons: {{TITLE}}</title>
<style>{{STYLE}}</style>
</head>
<body>
<h1>Drift of neurons: {{TITLE}}</h1>
<p id="about"></p>
<div id="controls">
<button id="play" type="button">Play</button>
<input id="slider" type="range" min="0" step="1" value="0" aria-label="checkpoint">
<output id="now" aria-live="polite"></output>
</div>
<div id="choices">
<label>across <select id="x"></select></label>
<label>up <select id="y"></select></label>
<label>layer <select id="layer"></select></label>
<label>find <input id="find" size="9" placeholder="L2N17" autocomplete="off"></label>
</div>
<div id="plots">
<figure><canvas id="dots" aria-label="one dot for each neuron"></canvas><figcaption id="scale"></figcaption></figure>
<figure id="similarity">
<canvas id="cka" aria-label="CKA to the reference"></canvas><figcaption id="legend"></figcaption>
</figure>
</div>
<p id="neuron">Point at a dot to read it; click it to see its path.</p>
<script type="application/json" id="data">{{DATA}}</script>
<script>{{SCRIPT}}</script>
</body>
</html>
"""

STYLE: Final = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1c2024; --soft: #667079; --line: #d5dade; --mark: #c2410c; }
@media (prefers-color-scheme: dark) {
  :root { --back: #15181b; --text: #e8eaec; --soft: #9aa4ad; --line: #3a4147; --mark: #fb923c; }
}
body { background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 1rem auto;
  max-width: 1240px; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.25rem; margin: 0 0 .2rem; }
p { margin: .3rem 0; }
#about, figcaption { color: var(--soft); font-size: .86rem; }
#controls { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; margin: .8rem 0 .4rem; }
#slider { flex: 1 1 12rem; min-width: 6rem; accent-color: var(--mark); }
#now { flex: 0 1 15rem; min-width: 0; font-weight: 600; }
#choices { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; font-size: .9rem; }
#choices label, select { max-width: 100%; }
button, select, input { font: inherit; }
button { min-width: 4.6rem; }
#plots { display: grid; grid-template-columns: minmax(0, 1.9fr) minmax(0, 1fr); gap: 1.2rem; margin-top: .6rem; }
@media (max-width: 760px) { #plots { grid-template-columns: minmax(0, 1fr); } }
figure { margin: 0; }
canvas { width: 100%; height: 460px; display: block; }
#neuron { min-height: 3em; font-variant-numeric: tabular-nums; }
"""
