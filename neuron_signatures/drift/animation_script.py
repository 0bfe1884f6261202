"""The script of the animation: it reads the data of the page, and draws both canvases."""

from __future__ import annotations

from typing import Final

SCRIPT: Final = r"""
"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const by = id => document.getElementById(id);
const n = data.layers.length, last = data.labels.length - 1, MISSING = 65535;
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
for (const q of data.quantities) {
  q.values = q.frames.map(text => {
    const raw = atob(text), out = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const v = raw.charCodeAt(2 * i) | raw.charCodeAt(2 * i + 1) << 8;
      out[i] = v === MISSING ? NaN : q.low + v / (MISSING - 1) * (q.high - q.low);
    }
    return out;
  });
  q.back = v => q.scale === "asinh" ? Math.sinh(v) * q.unit : q.scale === "log" ? 10 ** v : v;
  q.forth = v => q.scale === "asinh" ? Math.asinh(v / q.unit) : q.scale === "log" ? Math.log10(v) : v;
}
const find = name => data.quantities.find(q => q.name === name) || data.quantities[0];
const layers = [...new Set(data.layers)].sort((a, b) => a - b);
const rank = new Map(layers.map((layer, i) => [layer, i]));
const STOPS = [[116, 66, 168], [59, 82, 139], [33, 145, 140], [94, 201, 98], [216, 200, 20]];
const colour = i => {
  const t = layers.length < 2 ? .4 : i / (layers.length - 1), at = Math.min(3, Math.floor(t * 4)), f = t * 4 - at;
  return "rgb(" + STOPS[at].map((v, k) => Math.round(v + f * (STOPS[at + 1][k] - v))).join(",") + ")";
};
const colours = layers.map((_, i) => colour(i));
let x = find("mean"), y = find("pearson"), only = null, time = 0, goal = 0, playing = false, hover = -1, pinned = -1;

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function prepare(canvas) {
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  c.font = "12px system-ui, sans-serif";
  return [c, w, h];
}
const plain = v => v === 0 || Math.abs(v) >= .001 && Math.abs(v) < 1000;
const nice = v => plain(v) ? String(+v.toPrecision(2)) : v.toExponential(0);
function ticks(q) {
  const out = [];
  if (q.scale === "linear") {
    const step = [.05, .1, .2, .25, .5, 1, 2, 5, 10].find(s => (q.high - q.low) / s <= 8) || (q.high - q.low) / 5;
    for (let v = Math.ceil(q.low / step - 1e-9) * step; v <= q.high + 1e-9; v += step) out.push(+v.toFixed(6));
    return out;
  }
  for (let e = -9; e <= 9; e++) for (const s of q.scale === "asinh" ? [-1, 1] : [1]) out.push(s * 10 ** e);
  const span = q.high - q.low, kept = [];
  if (q.scale === "asinh") out.push(0);
  const inside = out.filter(v => q.forth(v) >= q.low && q.forth(v) <= q.high);
  for (const v of inside.sort((a, b) => Math.abs(a) - Math.abs(b)))
    if (kept.every(u => Math.abs(q.forth(u) - q.forth(v)) > span / 12)) kept.push(v);
  return kept;
}
const box = (w, h) => ({left: 52, right: w - 12, top: 14, bottom: h - 44});
const pad = .02;
const place = (q, v, from, to) => from + (pad + (v - q.low) / (q.high - q.low) * (1 - 2 * pad)) * (to - from);
function axes(c, b, across, up, xTitle, yTitle) {
  c.strokeStyle = css("--line"); c.fillStyle = css("--soft"); c.lineWidth = 1;
  for (const [at, text] of up) {
    c.beginPath(); c.moveTo(b.left, at); c.lineTo(b.right, at); c.stroke();
    c.textAlign = "right"; c.textBaseline = "middle"; c.fillText(text, b.left - 6, at);
  }
  for (const [at, text] of across) {
    c.beginPath(); c.moveTo(at, b.top); c.lineTo(at, b.bottom); c.stroke();
    c.textAlign = "center"; c.textBaseline = "top"; c.fillText(text, at, b.bottom + 6);
  }
  c.fillStyle = css("--text"); c.textAlign = "center"; c.textBaseline = "bottom";
  c.fillText(xTitle, (b.left + b.right) / 2, b.bottom + 42);
  c.save(); c.translate(13, (b.top + b.bottom) / 2); c.rotate(-Math.PI / 2); c.fillText(yTitle, 0, 0); c.restore();
}
function between(q, i, t) {
  const a = Math.floor(t), f = t - a, first = q.values[a][i];
  if (f === 0) return first;
  return first + f * (q.values[a + 1][i] - first);
}
const visible = i => only === null || data.layers[i] === only;
let spots = [];
function drawDots() {
  const [c, w, h] = prepare(by("dots")), b = box(w, h);
  axes(c, b, ticks(x).map(v => [place(x, x.forth(v), b.left, b.right), nice(v)]),
    ticks(y).map(v => [place(y, y.forth(v), b.bottom, b.top), nice(v)]), x.title, y.title);
  const size = n > 20000 ? 1.6 : n > 5000 ? 2.2 : 3.2;
  c.globalAlpha = n > 20000 ? .35 : n > 2000 ? .55 : .75;
  spots = new Array(n);
  for (let r = 0; r < layers.length; r++) {
    c.fillStyle = colours[r];
    for (let i = 0; i < n; i++) {
      if (rank.get(data.layers[i]) !== r || !visible(i)) continue;
      const px = place(x, between(x, i, time), b.left, b.right), py = place(y, between(y, i, time), b.bottom, b.top);
      if (Number.isNaN(px + py)) continue;
      spots[i] = [px, py];
      c.fillRect(px - size / 2, py - size / 2, size, size);
    }
  }
  c.globalAlpha = 1;
  for (const i of new Set([hover, pinned])) if (i >= 0) drawPath(c, b, i);
}
function drawPath(c, b, i) {
  const spot = t => [place(x, x.values[t][i], b.left, b.right), place(y, y.values[t][i], b.bottom, b.top)];
  const at = data.labels.map((_, t) => spot(t)).filter(p => !Number.isNaN(p[0] + p[1]));
  c.strokeStyle = c.fillStyle = css("--mark"); c.lineWidth = 1.5;
  if (i === pinned) {
    c.beginPath(); at.forEach((p, k) => k ? c.lineTo(p[0], p[1]) : c.moveTo(p[0], p[1])); c.stroke();
    for (const p of at) { c.beginPath(); c.arc(p[0], p[1], 3, 0, 7); c.fill(); }
  }
  if (!spots[i]) return;
  c.beginPath(); c.arc(spots[i][0], spots[i][1], 7, 0, 7); c.stroke();
  c.font = "bold 13px system-ui, sans-serif"; c.textBaseline = "middle";
  const right = spots[i][0] > b.right - 80;
  c.textAlign = right ? "right" : "left";
  c.fillText(name(i), spots[i][0] + (right ? -11 : 11), spots[i][1]);
}
function drawCka() {
  if (!data.cka) return;
  const [c, w, h] = prepare(by("cka")), b = box(w, h), lines = data.cka.lines;
  const values = lines.flatMap(l => [...l.values, ...l.low, ...l.high]).concat(data.cka.null).filter(v => v !== null);
  const q = {low: Math.min(0, ...values), high: Math.max(1, ...values), scale: "linear", forth: v => v};
  const px = i => b.left + (last ? .04 + .92 * i / last : .5) * (b.right - b.left);
  const py = v => place(q, v, b.bottom, b.top);
  axes(c, b, [], ticks(q).map(v => [py(v), nice(v)]), "checkpoint", "debiased CKA to the reference");
  c.fillStyle = css("--soft"); c.textBaseline = "top";
  const taken = [];
  for (const i of new Set([goal, last, ...data.labels.keys()])) {  // labels that do not overlap
    const text = data.labels[i].length > 16 ? data.labels[i].slice(0, 15) + "…" : data.labels[i];
    const w = c.measureText(text).width, left = Math.min(Math.max(px(i) - w / 2, b.left), b.right - w);
    if (taken.some(([from, to]) => left < to + 8 && left + w > from - 8)) continue;
    taken.push([left, left + w]);
    c.textAlign = "left"; c.fillText(text, left, b.bottom + 6);
  }
  const [bottom, top] = data.cka.null.map(py);
  c.globalAlpha = .25; c.fillRect(b.left, top, b.right - b.left, bottom - top);
  c.globalAlpha = 1;
  const whole = lines.find(l => l.layer === null);
  for (const l of lines) {
    if (l === whole || (only !== null && l.layer !== only)) continue;
    curve(c, l.values, px, py, colours[rank.get(l.layer)] || css("--soft"), 1.5);
  }
  c.fillStyle = css("--text"); c.globalAlpha = .18;
  const known = whole.low.map((v, i) => i).filter(i => whole.low[i] !== null);
  c.beginPath();
  known.forEach((i, k) => k ? c.lineTo(px(i), py(whole.high[i])) : c.moveTo(px(i), py(whole.high[i])));
  [...known].reverse().forEach(i => c.lineTo(px(i), py(whole.low[i])));
  c.fill(); c.globalAlpha = 1;
  curve(c, whole.values, px, py, css("--text"), 3);
  c.strokeStyle = css("--mark"); c.lineWidth = 2;
  c.beginPath(); c.moveTo(px(time), b.top); c.lineTo(px(time), b.bottom); c.stroke();
}
function curve(c, values, px, py, stroke, width) {
  c.strokeStyle = c.fillStyle = stroke; c.lineWidth = width;
  c.beginPath();
  values.forEach((v, i) => { if (v !== null) i ? c.lineTo(px(i), py(v)) : c.moveTo(px(i), py(v)); });
  c.stroke();
  values.forEach((v, i) => { if (v !== null) { c.beginPath(); c.arc(px(i), py(v), width + 1, 0, 7); c.fill(); } });
}
const name = i => "L" + data.layers[i] + "N" + data.neurons[i];
function describe() {
  const i = hover >= 0 ? hover : pinned, frame = Math.round(time);
  by("now").textContent = (goal + 1) + " of " + (last + 1) + ": " + data.labels[goal] +
    (goal === data.reference ? " (reference)" : "");
  if (i < 0) { by("neuron").textContent = "Point at a dot to read it; click it to see its path."; return; }
  by("neuron").textContent = name(i) + " in " + data.labels[frame] + ": " + data.quantities.map(q => {
    const v = q.values[frame][i];
    return q.title + " " + (Number.isNaN(v) ? "undefined" : +q.back(v).toPrecision(3));
  }).join("; ");
}
function draw() { drawDots(); drawCka(); describe(); }
let asked = false;
function redraw() { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } }
let since = 0, from = 0;
function go(frame) {
  goal = frame; by("slider").value = frame; by("slider").setAttribute("aria-valuetext", data.labels[frame]);
  if (still) { time = goal; redraw(); return; }
  from = time; since = performance.now();
  requestAnimationFrame(move);
}
function move(now) {
  const part = Math.min(1, Math.max(0, (now - since) / 700)), eased = part * part * (3 - 2 * part);
  time = part === 1 ? goal : from + (goal - from) * eased;
  draw();
  if (part < 1) requestAnimationFrame(move);
}
let timer = 0;
function play(on) {
  playing = on; by("play").textContent = on ? "Pause" : "Play"; clearInterval(timer);
  if (!on) return;
  go(goal === last ? 0 : goal + 1);
  timer = setInterval(() => { if (goal === last) play(false); else go(goal + 1); }, 1500);
}
function nearest(event) {
  const area = by("dots").getBoundingClientRect(), mx = event.clientX - area.left, my = event.clientY - area.top;
  let best = -1, least = 144;
  for (let i = 0; i < n; i++) {
    if (!spots[i]) continue;
    const d = (spots[i][0] - mx) ** 2 + (spots[i][1] - my) ** 2;
    if (d < least) { least = d; best = i; }
  }
  return best;
}
function option(select, value, text) {
  const o = document.createElement("option"); o.value = value; o.textContent = text; select.append(o);
}
for (const q of data.quantities) { option(by("x"), q.name, q.title); option(by("y"), q.name, q.title); }
by("x").value = x.name; by("y").value = y.name;
option(by("layer"), "", "all");
layers.forEach(layer => option(by("layer"), layer, layer));
by("slider").max = last;
by("about").textContent = (n < data.n_all ? n.toLocaleString("en") + " of " : "") + data.n_all.toLocaleString("en") +
  " neurons over " + data.n_tokens.toLocaleString("en") + " tokens" +
  (n < data.n_all ? ", drawn at random" : "") + ". Reference: " + data.labels[data.reference] +
  ", where Pearson, Jaccard and CKA are 1 by definition. Between two checkpoints the dots move on straight lines.";
if (data.cka) by("legend").textContent =
  "Thick: all layers with the 95 % interval; colours: layers; grey: permuted tokens. " +
  data.n_cka_tokens.toLocaleString("en") + " tokens.";
else by("similarity").remove();
by("scale").textContent = "Colour: layer " + layers[0] + " (violet) to " + layers[layers.length - 1] + " (yellow).";
by("x").onchange = e => { x = find(e.target.value); redraw(); };
by("y").onchange = e => { y = find(e.target.value); redraw(); };
by("layer").onchange = e => { only = e.target.value === "" ? null : +e.target.value; redraw(); };
by("find").oninput = e => {
  const wanted = e.target.value.trim().toUpperCase();
  pinned = data.layers.findIndex((_, i) => name(i) === wanted);
  redraw();
};
by("slider").oninput = e => { play(false); go(+e.target.value); };
by("play").onclick = () => play(!playing);
by("dots").onmousemove = e => { const i = nearest(e); if (i !== hover) { hover = i; redraw(); } };
by("dots").onmouseleave = () => { hover = -1; redraw(); };
by("dots").onclick = e => { pinned = nearest(e); redraw(); };
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
draw();
})();
"""
