"""The selection, and its form as the page's address: `?run=&prompt=&layer=&neuron=&view=&list=...`.

Addresses are untrusted input: an invalid value gives a message and the default, never a path outside the runs root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from neuron_signatures.dashboard.search.address import KEYS as SEARCH_KEYS
from neuron_signatures.dashboard.search.address import asked_of, parts_of
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import escape
from neuron_signatures.runs.under_root import is_text
from neuron_signatures.views.coords import NeuronAt, check_layer, check_neuron, parse_neuron
from neuron_signatures.views.search_run.asked import NOTHING, Asked

MANUAL = ""
"""`Selection.list` if no ranked list is selected."""
MOST_PINS = 4
"""Neurons that can be compared side by side."""
_KEYS = ("run", "prompt", "layer", "neuron", "view", "list", "row", "pins", "result", "pair", "on", "scored", "score",
         "clustering", "cluster", "comparison", "circuit", "node", *SEARCH_KEYS)  # fmt: skip
_ON = ("prompts", "corpus")
_LONGEST = 300
_MOST_NODES = 10
"""Selected nodes of a circuit that an address names."""


class View(StrEnum):
    OVERVIEW = "overview"
    NEURON = "neuron"
    COMPARE = "compare"
    RANKING = "ranking"
    SIGNATURES = "signatures"
    MAP = "map"
    QUERY = "query"
    SEARCH = "search"
    CONTRAST = "contrast"
    INTERVENTIONS = "interventions"
    CIRCUIT = "circuit"
    EXPLANATIONS = "explanations"
    SCORES = "scores"
    SKILLS = "skills"
    WEIGHTS = "weights"
    CLUSTERS = "clusters"
    DRIFT = "drift"
    LIVE = "live"


@dataclass(frozen=True)
class Selection:
    """A prompt and a neuron of one run, and the selected list; shared by all views."""

    run: str
    """Name of a folder directly under the runs root."""
    prompt: int = 0
    """Index in the run."""
    layer: int = 0
    neuron: int = 0
    view: View = View.OVERVIEW
    list: str = MANUAL
    """Stem of a ranked list, or `MANUAL`."""
    row: int | None = None
    """Index of the neuron in the list's order; None without a list."""
    pins: tuple[NeuronAt, ...] = ()
    """Neurons to compare, at most `MOST_PINS`, without duplicates."""
    result: str = ""
    """Stem of an intervention; empty before one was shown."""
    pair: int | None = None
    """Index of a pair of a swap of many pairs."""
    corpus: bool = False
    """Whether the Neuron view shows the neuron on the corpus instead of the prompts."""
    scored: str = ""
    """The files of the scored set that the Scores view shows; empty for the first."""
    score: str = ""
    """The score that it shows; empty for the first of the set."""
    clustering: str = ""
    """Name of the clustering that the Clusters view shows; empty for the first."""
    cluster: int | None = None
    """The number of its cluster that is shown; None for that of the selected neuron."""
    comparison: str = ""
    """Name of the comparison that the Drift view shows; empty for the first."""
    circuit: str = ""
    """Name of the circuit that the Circuit view shows; empty for the first."""
    nodes: tuple[str, ...] = ()
    """Ids of its selected nodes and collapsed groups; those that it does not show are ignored."""
    asked: Asked = NOTHING
    """What the Search view looks for."""

    @property
    def at(self) -> NeuronAt:
        return NeuronAt(self.layer, self.neuron)

    def with_neuron(self, at: NeuronAt, row: int | None = None) -> Selection:
        return replace(self, layer=at.layer, neuron=at.neuron, row=row)


class Resolved(NamedTuple):
    """A selection that the run can show, and messages about invalid parts of the address."""

    selection: Selection
    problems: list[str]


def address_of(params: Mapping[str, str]) -> dict[str, str]:
    """The known parts of an address, truncated."""
    return {k: str(params[k])[:_LONGEST] for k in _KEYS if params.get(k)}


def resolve(address: Mapping[str, str], run: Run, default: Selection, lists: list[str]) -> Resolved:
    """The selection that an address names in this run; missing or invalid parts come from `default`.

    A neuron without a list is a manual selection. `lists` are the stems of the run's lists.
    """
    problems: list[str] = []
    chosen = default
    if "view" in address:
        if address["view"] in tuple(View):
            chosen = replace(chosen, view=View(address["view"]))
        else:
            problems.append(f"there is no view {address['view'][:60]!r}")
    if "prompt" in address:
        try:
            chosen = replace(chosen, prompt=_prompt_at(run, address["prompt"]))
        except UsageError:
            problems.append(f"there is no prompt {address['prompt'][:60]!r} in this run")
    if "list" in address or "layer" in address or "neuron" in address:
        chosen = _with_neuron(address, run, chosen, lists, problems)
    if "pins" in address:
        chosen = replace(chosen, pins=_pins(run, address["pins"], problems))
    if "result" in address:
        chosen = replace(chosen, result=address["result"], pair=_counted(address, "pair", problems))
    if "scored" in address:
        chosen = replace(chosen, scored=address["scored"], score=address.get("score", ""))
    if "clustering" in address:
        chosen = replace(chosen, clustering=address["clustering"], cluster=_cluster(address, problems))
    if "comparison" in address:
        chosen = replace(chosen, comparison=address["comparison"])
    if "circuit" in address or "node" in address:
        chosen = replace(chosen, circuit=address.get("circuit", ""), nodes=_nodes(address.get("node", "")))
    if any(key in address for key in SEARCH_KEYS):
        chosen = replace(chosen, asked=asked_of(address, run, problems))
    if "on" in address:
        if address["on"] in _ON:
            chosen = replace(chosen, corpus=address["on"] == "corpus")
        else:
            problems.append(f"on is prompts or corpus, not {address['on'][:60]!r}")
    return Resolved(chosen, [escape(p) for p in problems])


def address(selection: Selection, run: Run) -> dict[str, str]:
    """The address of a selection, the inverse of `resolve`."""
    out = {
        "run": selection.run,
        **({"prompt": _prompt_name(run, selection.prompt)} if run.prompts else {}),
        "layer": str(selection.layer),
        "neuron": str(selection.neuron),
        "view": selection.view.value,
    }
    if selection.list != MANUAL:
        out["list"] = selection.list
        if selection.row is not None:
            out["row"] = str(selection.row + 1)
    if selection.pins:
        out["pins"] = ",".join(at.label for at in selection.pins)
    if selection.result:
        out["result"] = selection.result
        if selection.pair is not None:
            out["pair"] = str(selection.pair + 1)
    if selection.scored:
        out["scored"] = selection.scored
        if selection.score:
            out["score"] = selection.score
    if selection.clustering:
        out["clustering"] = selection.clustering
        if selection.cluster is not None:
            out["cluster"] = str(selection.cluster)
    if selection.comparison:
        out["comparison"] = selection.comparison
    if selection.circuit:
        out["circuit"] = selection.circuit
    if nodes := _node_part(selection.nodes):
        out["node"] = nodes
    if selection.view is View.SEARCH:
        out |= parts_of(selection.asked)
    if selection.corpus and run.prompts:
        out["on"] = "corpus"
    return out


def _pins(run: Run, text: str, problems: list[str]) -> tuple[NeuronAt, ...]:
    """The distinct neurons of `L3N508,L4N178`, at most `MOST_PINS`."""
    found: list[NeuronAt] = []
    for part in text.split(","):
        try:
            at = parse_neuron(part, run)
        except UsageError as e:
            problems.append(f"pins: {e.line()}")
            continue
        if at not in found:
            found.append(at)
    if len(found) > MOST_PINS:
        problems.append(f"pins: only the first {MOST_PINS} of {len(found)} neurons are kept")
    return tuple(found[:MOST_PINS])


def _nodes(text: str) -> tuple[str, ...]:
    """The distinct ids of `3_508_8,4_178_8`. The Circuit view checks them."""
    return tuple(dict.fromkeys(filter(None, text.split(","))))[:_MOST_NODES]


def _node_part(nodes: Sequence[str]) -> str:
    """The first of these ids, as many as fit into an address; without those that it cannot hold."""
    held = [n for n in nodes if n and "," not in n and is_text(n)][:_MOST_NODES]
    while len(",".join(held)) > _LONGEST:
        held.pop()
    return ",".join(held)


def _with_neuron(
    address: Mapping[str, str], run: Run, chosen: Selection, lists: list[str], problems: list[str]
) -> Selection:
    at = chosen.at
    try:
        layer = check_layer(run, _number(address, "layer", at.layer))
        at = check_neuron(run, NeuronAt(layer, _number(address, "neuron", at.neuron)))
    except ProjectError as e:
        problems.append(e.line())
        return chosen
    stem = address.get("list", MANUAL)
    if stem != MANUAL and stem not in lists:
        problems.append(f"there is no list {stem[:60]!r} in this run")
        stem = MANUAL
    row = None if stem == MANUAL else _counted(address, "row", problems)
    return replace(chosen, layer=at.layer, neuron=at.neuron, list=stem, row=row)


def _counted(address: Mapping[str, str], key: str, problems: list[str]) -> int | None:
    """Index of what the address counts from 1, such as a row; None if it has none."""
    try:
        number = _number(address, key, 0)
    except UsageError as e:
        problems.append(e.line())
        return None
    return number - 1 if number else None


def _cluster(address: Mapping[str, str], problems: list[str]) -> int | None:
    """The number of a cluster, which counts from 0; None if the address has none."""
    try:
        return _number(address, "cluster", 0) if "cluster" in address else None
    except UsageError as e:
        problems.append(e.line())
        return None


def _number(address: Mapping[str, str], key: str, default: int) -> int:
    text = address.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UsageError(f"{key} {text[:60]!r} is not a number")
    return int(text)


def _prompt_name(run: Run, index: int) -> str:
    """The prompt's id, or its index if the id (arbitrary in format 1) does not fit into an address.

    An index that equals another prompt's id is padded with zeros.
    """
    name = run.prompts[index].probe_id
    if 0 < len(name) <= _LONGEST and is_text(name):
        return name
    ids = {p.probe_id for p in run.prompts}
    form = str(index)
    while form in ids:
        form = "0" + form
    return form


def _prompt_at(run: Run, text: str) -> int:
    """Index of the prompt with this id, or at this index. Raises `UsageError` for neither."""
    found = run.prompt(text)
    if found.probe_id != text and not text.isascii():  # digits of another script
        raise UsageError(f"{text[:60]!r} is not a number")
    return next(i for i, p in enumerate(run.prompts) if p is found)
