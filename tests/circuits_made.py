"""A run with hand-made circuits, written through the real writers. Texts are hostile; some numbers are null."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from neuron_signatures.runs.circuits.folder import TRACE, circuit_folder
from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node, Prompt, node_id
from neuron_signatures.runs.circuits.tables import circuit_tables
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder

EVIL = '</script><script>document.title="EVIL"</script><img src=x onerror="document.title=\'EVIL\'">'
MARKUP = "[@click=app.quit]x[/] \x1b[31mred‮ $\\href{//evil.invalid}{y}$"
TOKENS = ("<bos>", "The", f" {EVIL}", MARKUP, " is")
N_LAYERS = 2


def made_graph(*, neurons_per_place: int = 1, heads: bool = True) -> Graph:
    """Two layers, five tokens: embeddings → layer 0 → layer 1 → target, with rest nodes and the constant.

    With `neurons_per_place` n there are 10·n neurons, so a graph of any size can be made.
    """
    prompt = Prompt("p0", "".join(TOKENS), (2, 5, 6, 7, 8), TOKENS, 4, 9, f" {EVIL}", 0.75, 10, MARKUP, 0.05, 3.5)
    ids = {"n_layers": N_LAYERS}
    target = Node(node_id("target", N_LAYERS, 4, token_id=9, **ids), "target", N_LAYERS, 4, None, 9, f" {EVIL}", 3.5,
                  incoming_abs=9.0, shown_abs=4.0, rest_abs=2.0, influence=0.0)  # fmt: skip
    embeddings = [
        Node(node_id("embedding", -1, pos, token_id=prompt.token_ids[pos], **ids), "embedding", -1, pos, None,
             prompt.token_ids[pos], token, influence=0.9, score=0.5 - pos / 10)
        for pos, token in enumerate(TOKENS)
    ]  # fmt: skip
    rests = [
        Node(node_id("rest", layer, pos, **ids), "rest", layer, pos, influence=0.95)
        for layer in range(N_LAYERS) for pos in range(5)
    ]  # fmt: skip
    constant = Node("C", "constant", -1, -1, influence=0.97)
    neurons = [
        _neuron(layer, pos, i) for layer in range(N_LAYERS) for pos in range(5) for i in range(neurons_per_place)
    ]
    edges = [Edge(n.id, target.id, _weight(i), _weight(i) * 1.5, None if i % 3 else _weight(i), (i + 1) / len(neurons))
             for i, n in enumerate(neurons)]  # fmt: skip
    lower = [n for n in neurons if n.layer == 0]
    edges += [
        Edge(e.id, n.id, 0.3, 0.2, None, 0.5) for e, n in zip(embeddings, lower[::neurons_per_place], strict=True)
    ]
    edges += [
        Edge(a.id, b.id, -0.25, None, None, 0.8) for a in lower[:3] for b in neurons if b.layer and b.pos >= a.pos
    ]
    edges += [Edge(r.id, target.id, 0.1, None, None, 0.99) for r in rests if r.pos == 4]
    edges += [Edge("C", target.id, -0.4, None, None, 0.97)]
    shares = tuple(HeadShare(e.source, e.target, 1, head, e.weight / 2) for e in edges[:2] for head in (0, 1))
    nodes = (*embeddings, constant, *neurons, *rests, target)
    return Graph(prompt, N_LAYERS, nodes, tuple(edges), shares if heads else ())


def write_circuit(run_dir: Path, graph: Graph | None = None, name: str = "made") -> Graph:
    """Store a circuit in an existing run."""
    graph = graph or made_graph()
    with Run.open(run_dir) as run, open_folder(run, circuit_folder(name), TRACE) as writer:
        for stem, frame in circuit_tables(graph).items():
            writer.table(stem, frame)
        facts = {"prompt": dict(asdict(graph.prompt).items()), "n_layers": graph.n_layers}
        writer.finish(settings={"reference": "mean"}, facts=facts)
    return graph


def _neuron(layer: int, pos: int, i: int) -> Node:
    sign = -1 if i % 2 else 1
    return Node(
        node_id("neuron", layer, pos, n_layers=N_LAYERS, neuron=i), "neuron", layer, pos, i, activation=sign * 2.0,
        reference=0.25, score=0.1 * (pos + 1) * sign, influence=min(1.0, 0.1 * (i + 1)), effect=0.2 * sign,
        measured=None if i % 2 else 0.21, incoming_abs=5.0, shown_abs=2.0, rest_abs=1.0,
        label=EVIL if i == 0 else "", promotes=(" Austin", EVIL, MARKUP),
    )  # fmt: skip


def _weight(i: int) -> float:
    return (-1) ** i * (1 + i % 7) / 7
