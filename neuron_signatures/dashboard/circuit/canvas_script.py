"""The script of the canvas: draws the nodes and edges that Python places, and sends the selection back.

All text from data becomes text nodes (`textContent`) or attributes; nothing is read as HTML, and nothing is loaded.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = r"""
const NS = "http://www.w3.org/2000/svg";
const MIN_SCALE = 0.72, MAX_SCALE = 1.1, MOST_ZOOM = 6, DRAG = 4;
const views = new WeakMap();

function put(parent, name, attributes = {}, text = "") {
  const made = parent.ownerDocument.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}
function html(parent, name, cls, text = "") {
  const made = parent.ownerDocument.createElement(name);
  if (cls) made.className = cls;
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}
function build(root) {
  const page = root.ownerDocument;
  const frame = page.createElement("div");
  frame.className = "frame";
  root.appendChild(frame);
  const bar = html(frame, "div", "bar"), scroll = html(frame, "div", "scroll");
  const tip = html(frame, "div", "tip"), said = html(frame, "div", "said");
  tip.hidden = true;
  said.setAttribute("aria-live", "polite");
  const view = { frame, bar, scroll, tip, said, zoom: 1, selected: [], at: 0, key: null, nodes: [], edges: [] };
  const button = (text, label, act) => {
    const made = html(bar, "button", "", text);
    made.type = "button";
    made.setAttribute("aria-label", label);
    made.title = label;
    made.onclick = act;
  };
  button("\u2212", "Zoom out", () => zoom(view, view.zoom / 1.25));
  button("+", "Zoom in", () => zoom(view, view.zoom * 1.25));
  button("fit", "Fit to the width", () => zoom(view, 1));
  button("none", "Clear the selection (Escape)", () => pick(view, []));
  view.legend = html(bar, "span", "legend");
  view.count = html(bar, "span", "count");
  for (const [mark, text] of [
    ["▲ up", "supports the target"], ["▼ down", "opposes it"], ["line", "edge raises its target"],
    ["line dash", "lowers it"], ["", "Width: share of Σ|edge| into its target, relative."],
  ]) {
    const item = html(view.legend, "span", "key");
    const [sign, cls] = mark.startsWith("line") ? ["", mark] : mark.split(" ");
    if (mark) html(item, "i", cls, sign);
    item.appendChild(page.createTextNode(text));
  }
  new ResizeObserver(() => size(view)).observe(scroll);
  scroll.addEventListener("wheel", e => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    zoom(view, view.zoom * Math.exp(-e.deltaY / 400));
  }, { passive: false });
  pan(view);
  return view;
}
function size(view) {
  if (!view.svg) return;
  const fits = Math.max(view.scroll.clientWidth - 2, 50), wide = view.data.width;
  const width = Math.min(Math.max(fits, wide * MIN_SCALE), wide * MAX_SCALE) * view.zoom;
  const high = width * view.data.height / wide;
  view.svg.setAttribute("width", width);
  view.svg.setAttribute("height", high);
  if (view.zoom <= 1) view.scroll.style.maxHeight = "";
  else view.scroll.style.maxHeight = Math.max(320, high / view.zoom) + "px";
}
function zoom(view, to) {
  const s = view.scroll, before = view.zoom;
  view.zoom = Math.min(Math.max(to, 0.4), MOST_ZOOM);
  const x = s.scrollLeft + s.clientWidth / 2, y = s.scrollTop + s.clientHeight / 2, by = view.zoom / before;
  size(view);
  s.scrollLeft = x * by - s.clientWidth / 2;
  s.scrollTop = y * by - s.clientHeight / 2;
}
function pan(view) {
  const s = view.scroll;
  let start = null;
  s.addEventListener("pointerdown", e => {
    view.dragged = false;
    if (e.button === 0) start = [e.clientX, e.clientY, s.scrollLeft, s.scrollTop];
  });
  s.addEventListener("pointermove", e => {
    if (!start || !(e.buttons & 1)) return;
    const dx = e.clientX - start[0], dy = e.clientY - start[1];
    if (Math.abs(dx) + Math.abs(dy) > DRAG) view.dragged = true;
    if (view.dragged) { s.scrollLeft = start[2] - dx; s.scrollTop = start[3] - dy; }
  });
  s.addEventListener("pointerup", () => { start = null; });
  s.addEventListener("click", e => {
    if (view.dragged) return;
    const node = e.target.closest(".node");
    if (!node) { if (e.target.closest("svg") && view.selected.length) pick(view, []); return; }
    choose(view, +node.dataset.i, e.shiftKey || e.ctrlKey || e.metaKey);
  });
  s.addEventListener("pointerover", e => {
    const found = e.target.closest(".node, .edge");
    if (!found) { light(view, null); hideTip(view); return; }
    const i = +found.dataset.i;
    if (found.classList.contains("node")) { light(view, i); showTip(view, e, view.data.nodes[i].lines); }
    else showTip(view, e, edgeLines(view.data, view.data.edges[i]));
  });
  s.addEventListener("pointerleave", () => { light(view, null); hideTip(view); });
  s.addEventListener("keydown", e => keys(view, e));
  s.addEventListener("focusin", e => {
    const node = e.target.closest(".node");
    if (node) { view.at = +node.dataset.i; light(view, view.at); }
  });
  s.addEventListener("focusout", () => light(view, null));
}
function choose(view, i, more) {
  const id = view.data.nodes[i].id, now = view.selected;
  focusOn(view, i, false);
  if (!more) pick(view, now.length === 1 && now[0] === id ? [] : [id]);
  else pick(view, now.includes(id) ? now.filter(other => other !== id) : [...now, id]);
}
function pick(view, ids) {
  view.selected = ids;
  mark(view);
  view.send({ ids, circuit: view.data.circuit });
}
function keys(view, e) {
  if (e.key === "Escape") { if (view.selected.length) pick(view, []); return; }
  if (e.key === "Enter" || e.key === " ") {
    if (!e.target.closest(".node")) return;
    e.preventDefault();
    choose(view, view.at, e.shiftKey || e.ctrlKey || e.metaKey);
    return;
  }
  const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
  if (!towards || !view.data.nodes.length) return;
  e.preventDefault();
  const here = view.data.nodes[view.at];
  let best = -1, least = Infinity;
  view.data.nodes.forEach((n, i) => {
    const dx = n.x - here.x, dy = n.y - here.y, along = dx * towards[0] + dy * towards[1];
    const aside = Math.abs(dx * towards[1]) + Math.abs(dy * towards[0]);
    const far = along + (towards[0] ? 3 : 0.6) * aside;
    if (i !== view.at && along > 1 && far < least) { least = far; best = i; }
  });
  if (best >= 0) focusOn(view, best, true);
}
function focusOn(view, i, move) {
  view.nodes.forEach((node, at) => node.setAttribute("tabindex", at === i ? "0" : "-1"));
  view.at = i;
  if (move) { view.nodes[i].focus({ preventScroll: false }); view.said.textContent = view.data.nodes[i].lines[0]; }
}
function light(view, i) {
  if (!view.svg) return;
  view.svg.classList.toggle("lit", i !== null);
  view.nodes.forEach(n => n.classList.remove("on"));
  view.edges.forEach(e => e.classList.remove("on"));
  if (i === null) return;
  view.nodes[i].classList.add("on");
  view.data.edges.forEach((e, at) => {
    if (e[0] !== i && e[1] !== i) return;
    view.edges[at].classList.add("on");
    view.nodes[e[0]].classList.add("on");
    view.nodes[e[1]].classList.add("on");
  });
}
function mark(view) {
  const chosen = new Set(view.selected);
  view.svg.classList.toggle("some", chosen.size > 0);
  view.data.nodes.forEach((n, i) => {
    view.nodes[i].classList.toggle("selected", chosen.has(n.id));
    view.nodes[i].setAttribute("aria-pressed", chosen.has(n.id) ? "true" : "false");
  });
  view.data.edges.forEach((e, at) => {
    const near = chosen.has(view.data.nodes[e[0]].id) || chosen.has(view.data.nodes[e[1]].id);
    view.edges[at].classList.toggle("near", near);
  });
  view.count.textContent = chosen.size ? chosen.size + " selected" : "";
}
function edgeLines(data, e) {
  const [s, t, weight, , total, measured, n] = e;
  const parts = ["direct " + weight];
  if (total !== null) parts.push("total " + total);
  if (measured !== null) parts.push("measured " + measured);
  return [data.nodes[s].lines[0], "→ " + data.nodes[t].lines[0], parts.join(", ") + (n > 1 ? ", " + n + " edges" : "")];
}
function showTip(view, e, lines) {
  const { tip, frame } = view;
  tip.replaceChildren();
  lines.forEach((line, i) => html(tip, "div", i ? "" : "first", line));
  tip.hidden = false;
  const box = frame.getBoundingClientRect();
  const x = Math.min(e.clientX - box.left + 14, box.width - tip.offsetWidth - 4);
  const y = e.clientY - box.top + 16;
  tip.style.left = Math.max(0, x) + "px";
  tip.style.top = (y + tip.offsetHeight > box.height ? y - tip.offsetHeight - 26 : y) + "px";
}
function hideTip(view) { view.tip.hidden = true; }
function curve(a, b) {
  const x0 = a.x + a.w / 2, x1 = b.x + b.w / 2, up = a.y >= b.y;
  const y0 = up ? a.y : a.y + a.h, y1 = up ? b.y + b.h : b.y;
  const k = Math.max(14, Math.abs(y1 - y0) * 0.42) * (up ? -1 : 1);
  return `M${x0} ${y0}C${x0} ${y0 + k} ${x1} ${y1 - k} ${x1} ${y1}`;
}
function draw(view, data) {
  const inside = view.svg && view.svg.contains(view.frame.getRootNode().activeElement);
  const focused = view.data && view.data.nodes[view.at] && view.data.nodes[view.at].id;
  const isNew = view.key !== data.circuit, left = view.scroll.scrollLeft, top = view.scroll.scrollTop;
  if (isNew) { view.zoom = 1; view.key = data.circuit; }
  view.data = data;
  view.selected = data.selected.slice();
  view.scroll.replaceChildren();
  const svg = view.svg = put(view.scroll, "svg", {
    viewBox: `0 0 ${data.width} ${data.height}`, role: "group", "aria-label": data.label,
  });
  const back = put(svg, "g", { class: "back" });
  for (const row of data.rows) {
    if (row.empty) continue;
    put(back, "line", { x1: 0, x2: data.width, y1: row.y + row.h, y2: row.y + row.h, class: "rule" });
    put(back, "text", { x: 6, y: row.y + row.h / 2 + 4, class: "layer" }, row.label);
  }
  data.columns.forEach((c, i) => {
    if (i % 2) put(back, "rect", { x: c.x - 6, y: 0, width: c.w + 12, height: data.height, class: "band" });
    for (const y of [15, data.height - 8])
      put(back, "text", { x: c.x + c.w / 2, y, class: "token", "text-anchor": "middle" }, c.label);
  });
  const under = put(svg, "g", { class: "edges" });
  view.edges = new Array(data.edges.length);
  for (let i = data.edges.length - 1; i >= 0; i--) {
    const e = data.edges[i], negative = e[2].startsWith("-");
    view.edges[i] = put(under, "path", {
      d: curve(data.nodes[e[0]], data.nodes[e[1]]), class: "edge " + (negative ? "minus" : "plus"), "data-i": i,
      "stroke-width": (0.5 + 4.5 * e[3]).toFixed(2), opacity: (0.12 + 0.68 * e[3]).toFixed(3),
    });
  }
  const over = put(svg, "g", { class: "nodes" });
  view.nodes = data.nodes.map((n, i) => drawNode(over, n, i));
  view.at = Math.max(0, data.nodes.findIndex(n => n.id === focused));
  size(view);
  view.scroll.scrollLeft = isNew ? view.scroll.scrollWidth : left;  // the target is on the right
  view.scroll.scrollTop = top;
  mark(view);
  if (view.nodes.length) focusOn(view, view.at, Boolean(inside));
}
function drawNode(over, n, i) {
  const g = put(over, "g", {
    class: "node " + n.kind + (n.mark === "▲" ? " up" : n.mark === "▼" ? " down" : ""), "data-i": i, role: "button",
    tabindex: "-1", "aria-label": n.lines.join("; "), transform: `translate(${n.x} ${n.y})`,
  });
  if (n.group === "all")
    put(g, "rect", { x: 3, y: 3, width: n.w, height: n.h, rx: 5, class: "behind" });
  put(g, "rect", { width: n.w, height: n.h, rx: n.kind === "embedding" ? 12 : 5, class: "body" });
  put(g, "rect", { width: n.w, height: n.h, rx: n.kind === "embedding" ? 12 : 5, class: "fill",
                   "fill-opacity": n.shade });
  if (n.group === "in") put(g, "rect", { x: 2, y: 6, width: 2.5, height: n.h - 12, rx: 1, class: "member" });
  const middle = n.said ? 14.5 : n.h / 2 + 4;
  put(g, "text", { x: n.w / 2, y: middle, class: "name", "text-anchor": "middle" }, n.mark + n.name);
  if (n.said) put(g, "text", { x: n.w / 2, y: 27.5, class: "what", "text-anchor": "middle" }, n.said);
  if (n.pinned) put(g, "text", { x: n.w - 2, y: 3, class: "pin", "text-anchor": "end" }, "◆");
  return g;
}
export default function (component) {
  const root = component.parentElement;
  let view = views.get(root);
  if (!view || !view.frame.isConnected) views.set(root, view = build(root));
  view.send = value => component.setTriggerValue("picked", value);
  draw(view, component.data);
}
"""
