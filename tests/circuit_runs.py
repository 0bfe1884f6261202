"""Circuits of the demo run for the terminal and the report: one with tests and groups, a hostile one, a broken one."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from circuits_made import EVIL, MARKUP, made_graph, write_circuit

from neuron_signatures.runs.circuits.folder import CHECKS, CURVES, GROUPS, SWAPS, TABLES, circuit_folder
from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node, Prompt, node_id
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder

AUSTIN, HOSTILE_CIRCUIT = "austin", "hostile"
N_LAYERS = 5


def austin_graph(run_dir: Path) -> Graph:
    """Dallas → Texas → a capital → Austin, by hand, on the run's own prompt; every node's lines sum to its value."""
    with Run.open(run_dir) as run:
        p = run.prompt("seed_prompt")
    prompt = Prompt(p.probe_id, p.text, tuple(p.token_ids), tuple(p.tokens), 8, 704, " Austin", 0.995, 712,
                    " Sacramento", 0.0015, 7.8)  # fmt: skip
    dallas, state, is_ = (
        Node(node_id("embedding", -1, pos, n_layers=N_LAYERS, token_id=p.token_ids[pos]), "embedding", -1, pos, None,
             p.token_ids[pos], p.tokens[pos], score=score, influence=0.9)
        for pos, score in ((7, 5.4), (5, -0.1), (8, 1.5))
    )  # fmt: skip
    rests = [Node(node_id("rest", layer, 8, n_layers=N_LAYERS), "rest", layer, 8, influence=0.9) for layer in (0, 3)]
    constant = Node("C", "constant", -1, -1, influence=0.95)
    texas = _neuron(1, 7, 363, 6.1, 0.23, 2.4, "towns in Texas", measured=2.2, effect=2.3)
    capital = _neuron(3, 8, 508, 2.44, 0.07, 1.9, "", measured=None, effect=1.7)
    away = _neuron(4, 8, 178, -1.5, 0.4, -0.8, "names of persons", measured=-0.7, effect=-0.9)
    target = Node(node_id("target", N_LAYERS, 8, n_layers=N_LAYERS, token_id=704), "target", N_LAYERS, 8, None, 704,
                  " Austin", 7.8, influence=0.0, incoming_abs=20.0, shown_abs=9.0, rest_abs=3.0)  # fmt: skip
    edges = (
        Edge(dallas.id, texas.id, 5.0, 5.2, None, 0.5), Edge(state.id, texas.id, -0.4, -0.3, None, 0.9),
        Edge(constant.id, texas.id, 0.5, None, None, 0.9),
        Edge(texas.id, capital.id, 1.8, 2.0, 1.9, 0.4), Edge(is_.id, capital.id, 0.3, 0.2, None, 0.8),
        Edge(rests[0].id, capital.id, 0.34, None, None, 0.9), Edge(texas.id, away.id, -0.9, -0.6, -0.5, 0.6),
        Edge(capital.id, target.id, 3.1, 3.0, 2.8, 0.2), Edge(texas.id, target.id, 1.4, 2.3, 2.2, 0.3),
        Edge(away.id, target.id, -0.8, -0.9, -0.7, 0.5), Edge(dallas.id, target.id, 2.0, 2.1, None, 0.4),
        Edge(rests[1].id, target.id, 1.2, None, None, 0.7), Edge(constant.id, target.id, 0.1, None, None, 0.9),
    )  # fmt: skip
    heads = (HeadShare(texas.id, capital.id, 2, 1, 1.5), HeadShare(texas.id, capital.id, 3, 0, -0.2))
    return Graph(prompt, N_LAYERS, (dallas, state, is_, *rests, constant, texas, capital, away, target), edges, heads)


def write_circuits(run_dir: Path) -> Path:
    """`austin` with tests and groups, `hostile` with hostile texts everywhere, and a folder that is not finished."""
    graph = write_circuit(run_dir, austin_graph(run_dir), AUSTIN)
    neurons = [n for n in graph.nodes if n.kind == "neuron"]
    write_groups(run_dir, AUSTIN, [("texas", "Texas", [neurons[0].id])], pinned=[neurons[1].id])
    write_checks(run_dir, AUSTIN, "Texas", " Sacramento")
    hostile = write_circuit(run_dir, made_graph(neurons_per_place=2), HOSTILE_CIRCUIT)
    ids = [n.id for n in hostile.nodes if n.kind == "neuron"]
    write_groups(run_dir, HOSTILE_CIRCUIT, [("a", (EVIL + MARKUP)[:200], ids[:3])], pinned=ids[:1])
    write_checks(run_dir, HOSTILE_CIRCUIT, EVIL + MARKUP, MARKUP)
    (run_dir / "circuits" / "broken").mkdir()
    return run_dir


def write_groups(run_dir: Path, name: str, groups: list[tuple[str, str, list[str]]], *, pinned: list[str]) -> None:
    found = {"groups": [{"id": i, "label": label, "nodes": nodes} for i, label, nodes in groups], "pinned": pinned}
    (run_dir / circuit_folder(name).folder / f"{GROUPS}").write_text(json.dumps(found), encoding="utf-8")


def write_checks(run_dir: Path, name: str, group: str, answer: str) -> None:
    """Three sizes of sets, and swaps of a group with two prompts, one of which flips."""
    curves = [
        {"k": k, "n_units": 23_040, "faithfulness": kept, "random_mean": 0.01, "random_sd": 0.02, "random_high": 0.05,
         "p": 0.000999, "complement": left, "complement_random_mean": 0.99, "complement_random_sd": 0.02,
         "complement_random_low": 0.95, "complement_p": 0.000999, "n_random": 1000}
        for k, kept, left in ((100, 0.81, 0.28), (200, 0.97, 0.19), (500, 1.0, None))
    ]  # fmt: skip
    swaps = [
        {"group": group, "n_neurons": 1, "other_prompt": f"other{i}", "answer_before": " Austin",
         "answer_after": answer if i else " Austin", "answer_other": answer, "flipped": bool(i), "moved": 6.5 * i,
         "random_flip_share": 0.02, "null_mean": 0.1, "null_sd": 0.3, "p": 0.01, "n_null": 99}
        for i in range(2)
    ]  # fmt: skip
    with Run.open(run_dir) as run, open_folder(run, circuit_folder(name), CHECKS) as writer:
        for stem, rows in ((CURVES, curves), (SWAPS, swaps)):
            writer.table(stem, pd.DataFrame(rows, columns=list(TABLES[stem].columns)))
        source = f"{circuit_folder(name).folder}/trace_meta.json"
        random = {"mean": 0.0, "sd": 0.01, "low": -0.02, "high": 0.02, "p": 0.000999, "n": 1000}
        own = {"k": 3, "faithfulness": 0.62, "complement": 0.4, "random": random, "complement_random": None}
        writer.finish(settings={"n_random": 1000}, facts={"circuit": own}, warnings=["a made test"], sources=[source])


def _neuron(
    layer: int, pos: int, i: int, activation: float, reference: float, score: float, label: str, *,
    measured: float | None, effect: float,
) -> Node:  # fmt: skip
    return Node(
        node_id("neuron", layer, pos, n_layers=N_LAYERS, neuron=i), "neuron", layer, pos, i, activation=activation,
        reference=reference, score=score, influence=0.5, effect=effect, measured=measured, incoming_abs=8.0,
        shown_abs=4.0, rest_abs=1.0, label=label, promotes=(" Austin", " Houston"),
    )  # fmt: skip
