"""What was collected: texts by class, units, and how good each autoencoder is on these tokens."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from neuron_signatures.dashboard.data.cached_skills import skill_record, skill_table
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.skills.frames import GATE_HELP, THREE, gate_frame
from neuron_signatures.dashboard.widgets.elements import empty, facts, show_lines, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.skills.names import GATES, Mode
from neuron_signatures.runs.skills.tables import finished_modes, outdated
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.skills.commands import skills_command
from neuron_signatures.views.skills.groups import MODE_WORDS, best_first


def overview_panel(ctx: PageContext) -> tuple[Mode, ...]:
    """Returns the modes that are finished."""
    done = finished_modes(ctx.run_dir)
    record = skill_record(ctx, "collect")
    assert isinstance(record, CollectMeta)
    classes = [(name, _texts_of(skills)) for name, skills in record.classes.items()]
    sources = best_first([b.source for b in record.banks])
    units = ", ".join(f"{s}: {sum(b.bank.width for b in record.banks if b.source == s):,}" for s in sources)
    facts([*classes, ("tokens", f"{record.n_tokens:,}"), ("units", f"{units} (a neuron counts once per pole)")])
    left_out = [f"{n:,} {what}" for n, what in ((record.n_duplicates, "duplicates"), (record.n_too_short, "too short"),
                                                (record.n_truncated, "cut")) if n]  # fmt: skip
    small(f"Texts left out or cut: {', '.join(left_out) or 'none'}. Features fire above 0, other units above "
          f"the {record.quantile:.0%} quantile of their own activations. Units are chosen on one half of the texts and "
          "tested on the other.")  # fmt: skip
    late = [MODE_WORDS[mode] for mode in done if outdated(ctx.run_dir, skill_record(ctx, mode))]
    show_lines("Texts were collected anew since these were made. Make them again.", late)
    gates = skill_table(ctx, GATES)
    if len(gates):
        worst = gates["fvu"].max()
        with st.expander(f"{count_of(len(gates), 'autoencoder')}, FVU up to {worst:.2f}"):
            frame = gate_frame(gates)
            formats = dict.fromkeys(("L0", "FVU", "dead"), THREE)
            table(frame, "skills_gates", help=GATE_HELP, formats=formats)
    return done


def _texts_of(skills: Mapping[str, int]) -> str:
    """The texts of a class, by skill if it has any."""
    of_skills = ", ".join(f"{brief(skill) or 'no skill'} {n:,}" for skill, n in skills.items())
    return count_of(sum(skills.values()), "text") + (f": {of_skills}" if any(skills) else "")


def say_missing(ctx: PageContext, mode: Mode) -> None:
    """The command that makes what a panel would show."""
    empty(f"This run has no {MODE_WORDS[mode]} yet.", skills_command(ctx.run_dir, mode))
