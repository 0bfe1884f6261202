"""Skills: whether classes of texts use different units, which units tell them apart, and what these do when raised."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, fold, missing, note, p, problem, table
from neuron_signatures.reporting.section import Section
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.skills.names import SEPARATION, STEERING_SUMMARY
from neuron_signatures.runs.skills.tables import (
    finished_modes,
    outdated,
    read_most_specific,
    read_record,
    read_skill_table,
)
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.skills.commands import skills_command
from neuron_signatures.views.skills.groups import best_first, groups_of, kinds_of, rows_of

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Which units belong to which skill?"
_SPECIFIC = 3


def skills(run: ReportRun) -> Section | None:
    done = finished_modes(run.run.path)
    if "collect" not in done:
        return None
    lead = join([
        "Texts of several classes were run through the model. Units are neurons, with a sign for the pole, and, where "
        "they were given, features of sparse autoencoders and directions. Units were chosen on one half of the texts; "
        "what they are worth is measured on ", el("b", "the other half"), ".",
    ])  # fmt: skip
    body = [_texts(run)]
    if "compare" not in done:
        return Section("skills", TITLE, lead, [*body, missing("Nothing was compared yet.",
                                                              skills_command(run.run.path, "compare"))])  # fmt: skip
    for make in (_separation, _specific, *([_steering] if "steer" in done else [])):
        read = attempt(functools.partial(make, run))
        body.append(problem(read.problem) if read.value is None else read.value)
    late = [mode for mode in done if outdated(run.run.path, read_record(run.run.path, mode))]
    if late:
        body.append(note("bad", f"Texts were collected anew since {', '.join(late)} ran."))
    if "steer" not in done:
        body.append(missing("No unit was raised, so whether a unit does anything is not known.",
                            skills_command(run.run.path, "steer")))  # fmt: skip
    return Section("skills", TITLE, lead, body)


def _texts(run: ReportRun) -> Html:
    record = read_record(run.run.path, "collect")
    assert isinstance(record, CollectMeta)
    classes = ", ".join(f"{brief(name)} {sum(skills.values()):,}" for name, skills in record.classes.items())
    return p(f"{record.n_texts:,} texts of {record.n_tokens:,} tokens: {classes}.")


def _separation(run: ReportRun) -> Html:
    frame = read_skill_table(run.run.path, SEPARATION)
    if not len(frame):
        return p("There is one class, so nothing to compare.")
    kind = kinds_of(frame)[0]
    columns = [Column("units", False), Column("halves of a class"), Column("different classes"), Column("difference"),
               Column("permuted labels"), Column("p")]  # fmt: skip
    rows = []
    for group in groups_of(frame):
        found = rows_of(frame, group, kind)
        if group.layer is None and len(found):
            r = found.iloc[0]
            rows.append([brief(group.label), f"{r['within']:.3f}", f"{r['between']:.3f}",
                         f"{r['difference']:.3f} [{r['low']:.3f}, {r['high']:.3f}]",
                         f"{r['null_mean']:.3f} ± {r['null_sd']:.3f}", f"{r['p']:.2g}"])  # fmt: skip
    said = f"Similarity ({kind.label}) of random halves of a class, and of different classes. If both are equal, the " \
           "classes use the same units."  # fmt: skip
    return join([el("h3", "Do classes use different units?"), p(said), table(columns, rows)])


def _specific(run: ReportRun) -> Html:
    frame = read_most_specific(run.run.path, 20)
    columns = [Column("class", False), Column("source", False), Column("unit", False), Column("held-out AUROC"),
               Column("fires in class"), Column("elsewhere")]  # fmt: skip
    rows = []
    for name in sorted(frame["class"].unique()):
        for source in best_first(list(frame["source"])):
            some = frame[(frame["class"] == name) & (frame["source"] == source)].head(_SPECIFIC)
            rows += [_unit(brief(name), source, r) for _, r in some.iterrows()]
    said = "AUROC: how often the unit is more active in a text of the class than in another; .5 is chance. An AUROC " \
           "near 1 says that the unit marks the texts, not that it does anything."  # fmt: skip
    return join(
        [el("h3", "Which units tell a class apart?"), p(said), fold("The most specific units", table(columns, rows))]
    )


def _unit(name: str, source: str, r: pd.Series) -> list[str]:
    interval = f" [{r['held_out_low']:.2f}, {r['held_out_high']:.2f}]" if r["held_out_low"] == r["held_out_low"] else ""
    value = "undefined" if r["held_out_auroc"] != r["held_out_auroc"] else f"{r['held_out_auroc']:.3f}{interval}"
    return [name, brief(source), brief(str(r["label"])), value, f"{r['share_in']:.0%}", f"{r['share_out']:.0%}"]


def _steering(run: ReportRun) -> Html:
    frame = read_skill_table(run.run.path, STEERING_SUMMARY)
    if not len(frame):
        return text("")
    columns = [Column("class", False), Column("source", False), Column("control", False), Column("units"),
               Column("dose"), Column("mean effect"), Column("mean of controls"), Column("win rate"),
               Column("KL")]  # fmt: skip
    keys = ["class", "source", "role", "edit", "dose"]
    frame = frame[(frame["outcome"] == "effect") & frame["chosen"]]
    grouped = frame.groupby(keys, sort=True)[["effect", "control_mean", "win_rate", "kl"]].agg(["mean", "count"])
    rows = []
    for key, r in grouped.iterrows():
        name, source, role, _, dose = key
        rows.append([brief(str(name)), brief(str(source)), brief(str(role)), f"{int(r['effect']['count'])}",
                     f"{dose:g}", f"{r['effect']['mean']:+.3f}", f"{r['control_mean']['mean']:+.3f}",
                     f"{r['win_rate']['mean']:.0%}", f"{r['kl']['mean']:.3f}"])  # fmt: skip
    said = "Each unit was raised on texts of its class that had no part in choosing it or the dose. Effect: change " \
           "of the log probability per token, in nats. Win rate: share of the control units with a smaller effect; " \
           "50 % is chance. KL: what it costs on neutral text."  # fmt: skip
    return join([el("h3", "Do they carry it?"), p(said), table(columns, rows)])
