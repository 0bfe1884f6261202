"""The style sheet of the canvas; colours of text and ground come from the page's theme."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
.frame { position: relative; color: var(--st-text-color, #222); font-size: 12px;
  font-family: var(--st-font, system-ui, sans-serif); }
.bar { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center; margin-bottom: 4px; }
.bar button { font: inherit; color: inherit; min-width: 28px; padding: 2px 8px; border-radius: 6px; cursor: pointer;
  background: var(--st-secondary-background-color, #eee); border: 1px solid rgba(128,128,128,.35); }
.bar button:hover, .bar button:focus-visible { border-color: var(--st-primary-color, #4466ff); }
.legend { display: inline-flex; flex-wrap: wrap; gap: 2px 12px; margin-left: 8px; opacity: .85; }
.key i { font-style: normal; margin-right: 4px; }
.key .up { color: rgb(16,160,112); } .key .down { color: rgb(225,110,30); }
.key .line { display: inline-block; width: 22px; height: 0; vertical-align: middle;
  border-top: 2.5px solid rgb(52,190,140); }
.key .dash { border-top: 2.5px dashed rgb(251,146,60); }
.count { margin-left: auto; font-weight: 600; }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.scroll { overflow: auto; border: 1px solid rgba(128,128,128,.25); border-radius: 8px;
  background: var(--st-background-color, #fff); touch-action: pan-x pan-y; }
svg { display: block; margin: 0 auto; user-select: none; }
.band { fill: rgba(128,128,128,.05); }
.rule { stroke: rgba(128,128,128,.16); }
.layer, .token { fill: currentColor; font-size: 12px; opacity: .7; }
.token { font-family: "Source Code Pro", ui-monospace, monospace; opacity: .85; }
.layer { font-weight: 600; }
.edge { fill: none; stroke: rgb(52,190,140); }
.edge.minus { stroke: rgb(251,146,60); stroke-dasharray: 5 3; }
.edge:hover { opacity: 1; }
.some .edge { opacity: .07; }
.some .edge.near { opacity: .85; }
.lit .edge { opacity: .04; }
.lit .edge.on { opacity: .95; }
.node { cursor: pointer; outline: none; }
.lit .node:not(.on):not(.selected) { opacity: .45; }
.body, .behind { fill: var(--st-background-color, #fff); stroke: rgba(128,128,128,.75); stroke-width: 1; }
.fill { fill: rgb(148,163,184); stroke: none; }
.up .fill { fill: rgb(52,211,153); } .down .fill { fill: rgb(251,146,60); }
.up .body { stroke: rgb(22,165,116); } .down .body { stroke: rgb(225,115,35); stroke-dasharray: 4 2; }
.embedding .body { stroke-width: 1; }
.rest .body, .constant .body { stroke-dasharray: 1.5 2.5; }
.target .body { stroke: currentColor; stroke-width: 2; stroke-dasharray: none; }
.node:focus-visible .body { stroke: var(--st-primary-color, #4466ff); stroke-width: 2.5; }
.node.selected .body { stroke: var(--st-primary-color, #4466ff); stroke-width: 3; stroke-dasharray: none; }
.name { fill: currentColor; font-size: 12px; font-weight: 600; font-variant-numeric: tabular-nums; }
.what { fill: currentColor; font-size: 11.5px; opacity: .85; }
.target .name { font-size: 13px; }
.embedding .name { font-weight: 400; font-family: "Source Code Pro", ui-monospace, monospace; font-size: 10.5px; }
.rest .name, .constant .name { font-weight: 400; opacity: .8; }
.member { fill: rgb(124,58,237); }
.behind { stroke: rgb(124,58,237); } .group .body { stroke: rgb(124,58,237); }
.pin { fill: var(--st-primary-color, #4466ff); font-size: 11px; }
.tip { position: absolute; z-index: 3; max-width: 340px; padding: 6px 9px; border-radius: 6px; pointer-events: none;
  background: var(--st-secondary-background-color, #f2f2f2); border: 1px solid rgba(128,128,128,.4);
  box-shadow: 0 2px 8px rgba(0,0,0,.2); overflow-wrap: anywhere; line-height: 1.4; }
.tip .first { font-weight: 600; }
"""
