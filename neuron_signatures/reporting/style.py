"""The style sheet of the report: light and dark, screen and print, wide and narrow."""

from __future__ import annotations

from neuron_signatures.reporting.heat import heat_style

_LIGHT = (
    "--bg:#fff;--fg:#1b2430;--soft:#5b6675;--line:#dde2e8;--box:#f6f8fa;--accent:#0b7a53;--warn:#b45309;--bad:#b42318;"
    "--null:#c6ccd4;--nullmean:#6b7684;--code:#f3f5f7;--l0:#0b7a53;--l1:#2563eb;--l2:#c2410c;--l3:#7c3aed;--l4:#0891b2;"
    "--l5:#a16207"
)
_DARK = (
    "--bg:#0f141a;--fg:#e4e8ee;--soft:#9aa5b3;--line:#2a323c;--box:#161c24;--accent:#34d399;--warn:#fbbf24;--bad:#f87171;"
    "--null:#3a4552;--nullmean:#8b97a6;--code:#1a212a;--l0:#34d399;--l1:#60a5fa;--l2:#fb923c;--l3:#a78bfa;--l4:#22d3ee;"
    "--l5:#eab308"
)
_BASE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif}
main{max-width:66rem;margin:0 auto;padding:1.6rem 1.2rem 4rem}
h1,h2,h3,h4{line-height:1.25;overflow-wrap:anywhere}
h1{font-size:1.75rem;margin:.2rem 0 .3rem;font-weight:650}
h2{font-size:1.35rem;margin:2.8rem 0 .4rem;padding-top:.9rem;border-top:1px solid var(--line);font-weight:650}
h3{font-size:1.05rem;margin:1.5rem 0 .4rem}
h4{font-size:.9rem;margin:1rem 0 .3rem;font-weight:600}
p{margin:.4rem 0;max-width:46rem;overflow-wrap:anywhere}
.lead{color:var(--soft);margin-bottom:.9rem}
.small,small{font-size:.8rem;color:var(--soft)}
a{color:var(--accent)}
.num{color:var(--soft);font-weight:400;margin-right:.45rem}
nav{font-size:.88rem;margin:1rem 0}
nav ol{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.1rem}
.short{border:1px solid var(--line);border-left:4px solid var(--accent);border-radius:6px;background:var(--box);
padding:.6rem 1rem;margin:1rem 0}
.short ul{margin:.2rem 0;padding-left:1.1rem}.short li{margin:.25rem 0;overflow-wrap:anywhere}
.prompt{font-size:1.15rem;line-height:1.7;padding:.7rem .9rem;border:1px solid var(--line);border-radius:6px;
margin:.7rem 0;overflow-wrap:anywhere}
.prompt .ans{white-space:nowrap}
.tok{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;font-size:.88em;
background:var(--code);border-radius:4px;padding:.05em .3em;overflow-wrap:anywhere;white-space:pre-wrap}
.toks{display:inline-flex;flex-wrap:wrap;gap:.15rem .25rem}
.ans .tok{font-weight:650;background:rgba(52,211,153,.25)}
.facts{display:grid;grid-template-columns:minmax(6.5rem,max-content) minmax(0,1fr);gap:.12rem 1rem;margin:.5rem 0;
font-size:.92rem}
.facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.5rem 0;max-width:100%;
background:linear-gradient(to left,var(--bg) 30%,transparent) right/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--line),transparent) right/.9rem 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.86rem;line-height:1.4;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);white-space:nowrap;vertical-align:bottom}
th,td{padding:.28rem .7rem .28rem 0;border-bottom:1px solid var(--line)}
td{vertical-align:top;min-width:2rem;white-space:nowrap}
td.n,th.n{text-align:right}
td.wide{min-width:14rem}
.text{display:block;min-width:13rem;max-width:34rem;overflow-wrap:anywhere;white-space:normal}
.toks.row{flex-wrap:nowrap}
.toks.row .tok{white-space:pre;overflow:hidden;text-overflow:ellipsis;max-width:9rem}
.hash{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.78rem;overflow-wrap:anywhere;display:block;
min-width:14rem;white-space:normal}
.nb{white-space:nowrap}
pre.cmd{background:var(--code);border-radius:5px;padding:.5rem .7rem;margin:.35rem 0;overflow-x:auto;font-size:.82rem;
line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere}
code{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;font-size:.88em;
overflow-wrap:anywhere}
pre code{font-size:inherit}code .nb{white-space:nowrap}
.note{border-left:3px solid var(--line);padding:.25rem .8rem;margin:.6rem 0;font-size:.92rem;overflow-wrap:anywhere}
.note.good{border-color:var(--accent)}.note.warn{border-color:var(--warn)}.note.bad{border-color:var(--bad)}
.note.bad b{color:var(--bad)}
details{margin:.5rem 0}
summary{cursor:pointer;font-size:.9rem;color:var(--accent);overflow-wrap:anywhere}
details>summary+*{margin-top:.4rem}
.card{border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;margin:1rem 0}
.card h3{margin:0 0 .3rem;font-size:1.1rem}
.card h4{margin:.9rem 0 .25rem}
.exp{border-left:3px solid var(--line);padding:.1rem 0 .1rem .8rem;margin:.6rem 0}
.exp.first{border-color:var(--accent)}
.exp .said{font-size:1rem;font-weight:500;overflow-wrap:anywhere}
.badge{display:inline-block;font-size:.74rem;line-height:1.4;border:1px solid var(--line);border-radius:1rem;
padding:0 .5rem;margin:0 .25rem .1rem 0;color:var(--soft);overflow-wrap:anywhere;max-width:100%}
.badge.good{border-color:var(--accent);color:var(--accent)}.badge.warn{border-color:var(--warn);color:var(--warn)}
.heat{display:flex;flex-wrap:wrap;gap:3px;margin:.3rem 0}
.heat .t{display:inline-block;padding:1px 5px;border-radius:4px;text-align:center;white-space:pre-wrap;
overflow-wrap:anywhere;font-family:ui-monospace,Menlo,Consolas,"Liberation Mono",monospace;font-size:.85rem;
max-width:100%}
.heat .t small{display:block;font-size:.68rem;color:inherit;opacity:.8;font-family:system-ui,sans-serif}
.t.x{opacity:.45}
.t.o{outline:2px solid var(--fg);outline-offset:-2px}
.t.nan{outline:1px dotted var(--fg)}
.t.k{text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:3px;font-weight:650}
.heat .t.k{box-shadow:inset 0 -3px 0 var(--fg);text-decoration:none}
.run .t{border-radius:3px;padding:1px 0}
.run{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75;font-size:.93rem}
.pass{display:grid;grid-template-columns:3.4rem minmax(0,1fr);gap:0 .7rem;border-top:1px solid var(--line);
padding:.3rem 0}
.pass .v{text-align:right;font-weight:600;font-variant-numeric:tabular-nums;font-size:.9rem;padding-top:.15rem}
.pair{display:grid;grid-template-columns:4.6rem minmax(0,1fr);gap:.1rem .7rem;align-items:baseline}
.pair .small{text-align:right}
.key{display:flex;flex-wrap:wrap;align-items:center;gap:.15rem .7rem;font-size:.8rem;color:var(--soft);margin:.3rem 0}
.key i{display:inline-block;width:1rem;height:.6rem;border-radius:2px;margin-right:.3rem;vertical-align:baseline}
.ramp{display:inline-flex}.ramp i{width:.5rem;margin:0;border-radius:0}
.figs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:.5rem 1.5rem;margin:.6rem 0}
figure{margin:0}figcaption{overflow-wrap:anywhere;font-size:.86rem;color:var(--soft);max-width:30rem}
figcaption b{color:var(--fg);font-weight:600}
svg{display:block;max-width:100%;height:auto;overflow:hidden}
.scroll>.ns-circuit{max-width:none}
svg.row{display:inline-block;vertical-align:middle;max-width:none}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
svg .end{text-anchor:end}svg .mid{text-anchor:middle}
svg .name{font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .zero{stroke:var(--line);stroke-width:1}
svg .level{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
svg .null{fill:var(--null)}
svg .draw{stroke:var(--nullmean);stroke-width:1;opacity:.35}
svg .mean{stroke:var(--nullmean);stroke-width:2}
svg .ci{stroke:var(--accent);stroke-width:2}
svg .dot{fill:var(--accent)}
svg .bin{fill:var(--accent);opacity:.75}
svg .nullline{fill:none;stroke:var(--nullmean);stroke-width:1.6}
svg .pos{fill:#34d399}svg .neg{fill:#fb923c}
svg polyline{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .thin{stroke-width:1.3;opacity:.75}
.glossary{columns:2;column-gap:2.2rem;font-size:.9rem;margin:.5rem 0}
.glossary div{break-inside:avoid;margin:0 0 .55rem}
.glossary dt{font-weight:600}.glossary dd{margin:0;color:var(--soft)}
footer{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:.8rem;font-size:.84rem;color:var(--soft);
overflow-wrap:anywhere}
@media screen and (max-width:640px){main{padding:1rem .8rem 3rem}h1{font-size:1.35rem}h2{font-size:1.15rem}
.card{padding:.7rem}.facts{grid-template-columns:minmax(0,1fr);gap:0}.facts dd{margin:0 0 .35rem}.glossary{columns:1}
.pass{grid-template-columns:2.6rem minmax(0,1fr);gap:0 .5rem}.pair{grid-template-columns:minmax(0,1fr)}
.pair .small{text-align:left}
.stack,.stack tbody{display:block}.stack thead{display:none}
.stack tr{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.15rem .7rem;padding:.45rem 0;
border-bottom:1px solid var(--line)}
.stack td,.stack td.n{display:block;border:0;padding:0;text-align:left;white-space:normal;overflow-wrap:anywhere}
.stack td:empty{display:none}
.stack td::before{content:attr(data-name);display:block;font-size:.72rem;color:var(--soft)}
.stack td:has(.text),.stack td:last-child:has(svg){grid-column:1/-1}.stack svg.row{max-width:100%}}
@media print{:root{LIGHT}body{font-size:10pt}main{max-width:none;padding:0}nav{display:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
h2,h3,h4,summary{break-after:avoid}figure,.exp,.pass,.note,tr{break-inside:avoid}
.scroll{overflow:visible;background:none}table{font-size:7.5pt}td,th{white-space:normal;padding-right:.45rem}
.text,.hash{min-width:0}svg.row{max-width:24mm}.scroll>.ns-circuit{max-width:100%}details.screen{display:none}.nb,td.n{white-space:nowrap}
a{color:inherit;text-decoration:none}
details::details-content{content-visibility:visible;display:block;height:auto}}
"""


def style() -> str:
    """The whole style sheet."""
    lines = "".join(
        f"svg .l{i}{{stroke:var(--l{i})}}svg .l{i}.fill{{fill:var(--l{i});stroke:none}}.key i.l{i}"
        f"{{background:var(--l{i})}}"
        for i in range(6)
    )
    base = _BASE.replace("LIGHT", _LIGHT).replace("\n", "")
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    return f":root{{color-scheme:light dark;{_LIGHT}}}{dark}{base}{lines}{heat_style()}"
