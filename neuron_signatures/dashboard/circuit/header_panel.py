"""Which circuit is shown, and what it explains: prompt, answer, reference and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from neuron_signatures.dashboard.data import cached_circuits
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import as_html, facts, show_lines
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.checks import Checks, faithfulness_words, headline_row
from neuron_signatures.views.circuit.labels import target_name
from neuron_signatures.views.circuit.opened import CircuitRef
from neuron_signatures.views.interventions.sheets import share_text, signed_text

_NAME = "ui_circuit_name"
_MOST_TOKENS = 200
_STYLE = """<style>
.ns-toks{line-height:1.9;font-family:"Source Code Pro",ui-monospace,monospace;font-size:.9rem}
.ns-toks span{padding:.1rem .3rem;margin:0 .1rem;border-radius:4px;background:rgba(128,128,128,.13);
overflow-wrap:anywhere}.ns-toks i{font-style:normal;opacity:.5;font-size:.7rem;margin-right:.25rem}
.ns-toks .a{background:rgba(52,211,153,.28);font-weight:600}.ns-toks .f{background:rgba(251,146,60,.25)}
</style>"""


def choose_circuit(ctx: PageContext, traced: Sequence[CircuitRef]) -> str:
    """The circuit to show, by default the first of the selected prompt; a message if the address names another one."""
    names = {ref.name: ref for ref in traced}
    wanted = ctx.selection.circuit
    if wanted and wanted not in names:
        show_lines("There is no such circuit; another one is shown.", [wanted])
    prompt = ctx.prompt.probe_id if ctx.has_prompts else None
    of_prompt = [n for n, ref in names.items() if ref.prompt is not None and ref.prompt.prompt_id == prompt]
    name = wanted if wanted in names else (of_prompt or list(names))[0]
    st.session_state[_NAME] = name
    st.selectbox("Circuit", list(names), key=_NAME, format_func=lambda n: ref_label(names[n]),
                 label_visibility="collapsed", on_change=lambda: ctx.open_circuit(st.session_state[_NAME]))  # fmt: skip
    return name


def ref_label(ref: CircuitRef) -> str:
    """`seed_prompt_Austin: ·Austin - ·Dallas, 84 nodes`."""
    size = "" if ref.n_nodes is None else f", {count_of(ref.n_nodes, 'node')}"
    return f"{brief(ref.name)}: {target_name(ref.prompt)}{size}" if ref.prompt is not None else brief(ref.name)


def header_panel(ctx: PageContext, stored: StoredCircuit, problems: Sequence[str]) -> None:
    """Draw the prompt with its answer, and the numbers of the circuit as a whole."""
    show_lines("How far to trust it", problems)
    prompt = stored.graph.prompt
    st.html(prompt_html(prompt))
    tested = None if problems else cached_circuits.checks(ctx, stored.name)
    said = [("noted", brief("; ".join(stored.record.warnings)))] if stored.record.warnings else []
    facts([("answer", answer_text(prompt)), *circuit_facts(stored), *tested_facts(tested), *said])


def prompt_html(prompt: Prompt) -> str:
    """The tokens with their positions, then the target and the foil."""
    tokens = "".join(f"<span><i>{i}</i>{as_html(visible(t))}</span>"
                     for i, t in enumerate(prompt.tokens[:_MOST_TOKENS]))  # fmt: skip
    more = "…" if len(prompt.tokens) > _MOST_TOKENS else ""
    foil = "" if prompt.foil is None else f' not <span class="f">{as_html(visible(prompt.foil))}</span>'
    target = f'<span class="a">{as_html(visible(prompt.target))}</span>'
    return f'{_STYLE}<div class="ns-toks">{tokens}{more} → {target}{foil}</div>'


def answer_text(prompt: Prompt) -> str:
    """The probabilities, and the explained quantity with its value."""
    foil = "" if prompt.foil is None else f", {visible(prompt.foil)} {_share(prompt.foil_probability)}"
    what = "logit" if prompt.foil is None else "difference of logits"
    return (f"{visible(prompt.target)} {_share(prompt.target_probability)}{foil} after position {prompt.target_pos}; "
            f"{what} {'undefined' if prompt.value is None else signed_text(prompt.value)}")  # fmt: skip


def circuit_facts(stored: StoredCircuit) -> list[tuple[str, str]]:
    """Size, reference and scores, as far as the trace recorded them."""
    graph, record = stored.graph, stored.record
    n = sum(node.kind == "neuron" for node in graph.nodes)
    size = (
        f"{count_of(len(graph.nodes), 'node')}, of which {count_of(n, 'neuron')}; {count_of(len(graph.edges), 'edge')}"
    )
    out = [("circuit", size), ("reference", reference_text(record.settings.get("reference")))]
    scores = [f"{word} {_share(value)}" for word in ("replacement", "completeness")
              if isinstance(value := record.facts.get(word), int | float)]  # fmt: skip
    if scores:
        out.append(("scores", f"{', '.join(scores)}, with rest nodes as errors"))
    return out


def reference_text(recorded: object) -> str:
    """`mean over 219 tokens`: of the record's reference, a name or its parts."""
    if not isinstance(recorded, Mapping):
        return brief(str(recorded)) if recorded else "not recorded"
    name, n = brief(str(recorded.get("name") or "not recorded")), recorded.get("n_tokens")
    return f"{name} over {count_of(n, 'token')}" if isinstance(n, int) else name


def tested_facts(tested: Checks | None) -> list[tuple[str, str]]:
    """The faithfulness of the smallest set that is enough, beside random sets."""
    row = headline_row(tested.curves) if tested is not None else None
    return [] if row is None else [("faithfulness", faithfulness_words(row))]


def _share(value: float | int | None) -> str:
    return "undefined" if value is None else share_text(float(value))
