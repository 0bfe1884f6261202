"""The folders `circuits/<name>/`: their tables and columns.

A folder holds one circuit (modes `trace` and `checks`) or what several circuits have in common (modes `common` and
`common_checks`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from neuron_signatures.runs.names import CIRCUITS, META
from neuron_signatures.runs.stage_results import StageFolder, Table

STAGE: Final = "poc10_trace_circuit"
TRACE: Final = "trace"
CHECKS: Final = "checks"
COMMON: Final = "common"
COMMON_CHECKS: Final = "common_checks"
MODES: Final = (TRACE, CHECKS, COMMON, COMMON_CHECKS)

GRAPH_FILE: Final = "graph.json"
"""The attribution-graph JSON that public viewers read."""
SUGGESTED_GROUPS: Final = "suggested_groups.json"
GROUPS: Final = "groups.json"
"""Groups and pins made by people; no stage writes over it."""

NODES: Final = "nodes"
EDGES: Final = "edges"
HEADS: Final = "heads"
CURVES: Final = "curves"
SWAPS: Final = "swaps"
COMMON_NODES: Final = "common_nodes"
COMMON_EDGES: Final = "common_edges"
MEMBERS: Final = "members"

_NULL: Final = {"null_mean": "double", "null_sd": "double", "p": "double", "n_null": "int32"}

_SET: Final = {
    "k": "int32", "n_units": "int64", "faithfulness": "double", "random_mean": "double", "random_sd": "double",
    "random_high": "double", "p": "double", "complement": "double", "complement_random_mean": "double",
    "complement_random_sd": "double", "complement_random_low": "double", "complement_p": "double",
    "n_random": "int32",
}  # fmt: skip

TABLES: Final = {
    # One row per node: see `graph.Node`. `promotes` is a list of tokens in JSON.
    NODES: Table(TRACE, {
        "id": "string", "kind": "string", "layer": "int32", "pos": "int32", "neuron": "int32", "token_id": "int32",
        "token": "string", "activation": "double", "reference": "double", "score": "double", "influence": "double",
        "effect": "double", "measured": "double", "incoming_abs": "double", "shown_abs": "double",
        "rest_abs": "double", "label": "string", "promotes": "string",
    }),
    # One row per edge: see `graph.Edge`.
    EDGES: Table(TRACE, {
        "source": "string", "target": "string", "weight": "double", "total": "double", "measured": "double",
        "share": "double", "other_heads": "double",
    }),
    # With --heads: see `graph.HeadShare`.
    HEADS: Table(TRACE, {
        "source": "string", "target": "string", "layer": "int32", "head": "int32", "weight": "double",
    }),
    # Sets of the k strongest neurons (at positions) of the ranking by |relevance|: the share of the target function
    # that is kept if all others are set to their references (`faithfulness`), and that is left if the set is
    # (`complement`). `random_*`, `complement_random_*`: of random sets with as many members in each layer at each
    # position. p: share of the random sets, plus one, that keep at least as much (of which at most as much is left).
    CURVES: Table(CHECKS, _SET),
    # A group's activations replaced by those of another prompt at the aligned positions. `moved`: how far the answer
    # moved, in logit of the other prompt's target minus this one's. The null: random neurons of the same layers and
    # positions whose change has the same norm.
    SWAPS: Table(CHECKS, {
        "group": "string", "n_neurons": "int32", "other_prompt": "string", "answer_before": "string",
        "answer_after": "string", "answer_other": "string", "flipped": "bool", "moved": "double",
        "random_flip_share": "double", **_NULL,
    }),
    # What several circuits share. `role`: the position, aligned between prompts (`start+0` is the first token,
    # `entity-1` the last one of the entity, `end-1` the last one). Scores are over the circuits that have the node,
    # activations over all prompts. `entity_share`: 1 - mean(d)²/mean(d²) of the changes d = a - ā over the prompts, 0
    # if they are the same in all, with its 95 % interval; d = a if ā is the mean over the template. `between`: η² of
    # the activation between entities, null unless an entity has several prompts; the null permutes entities. `varies`:
    # entity_low is above .5, or where there is a p, entity_share is and q is at most .05; of a token, whether it
    # differs.
    COMMON_NODES: Table(COMMON, {
        "kind": "string", "layer": "int32", "neuron": "int32", "role": "string", "n_circuits": "int32",
        "share": "double", "mean_score": "double", "sd_score": "double", "mean_activation": "double",
        "sd_activation": "double", "entity_share": "double", "entity_low": "double", "entity_high": "double",
        "between": "double", **_NULL, "varies": "bool", "label": "string",
    }),
    # `source` and `target` are rows of `common_nodes`.
    COMMON_EDGES: Table(COMMON, {
        "source": "int32", "target": "int32", "n_circuits": "int32", "share": "double", "mean_weight": "double",
        "sd_weight": "double",
    }),
    # `common_share`: share of the common neurons (in half of the circuits that are not held out, without this one) that
    # are in this circuit; the null, of held-out circuits: random neurons, as many in each layer and role. `covered`:
    # share of Σ|score| of this circuit's neurons that is of common ones.
    MEMBERS: Table(COMMON, {
        "circuit": "string", "prompt_id": "string", "entity": "string", "target": "string", "foil": "string",
        "held_out": "bool", "common_share": "double", "covered": "double", **_NULL,
    }),
    # The common neurons as a set in each prompt, those of the circuits without this one: `n_common` of them, of which
    # `k` have their role in the prompt. The rest as in `curves`.
    COMMON_CHECKS: Table(COMMON_CHECKS, {
        "circuit": "string", "held_out": "bool", "n_common": "int32", **_SET,
    }),
}  # fmt: skip


def circuit_folder(name: str) -> StageFolder:
    """The folder of one circuit, or of what several have in common."""
    return StageFolder(
        folder=f"{CIRCUITS}/{name}", stage=STAGE, tables=TABLES, command=f"python -m neuron_signatures.{STAGE}",
        modes=MODES,
    )  # fmt: skip


def list_circuits(run_dir: Path, mode: str = TRACE) -> list[str]:
    """Names of the folders with a finished result of this mode, in order of name."""
    return sorted(path.parent.name for path in (run_dir / CIRCUITS).glob(f"*/{mode}{META}"))
