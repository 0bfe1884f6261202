"""The attribution-graph JSON as records. Names of fields are the format's own.

A file of another generator can lack every field that has a default here. Fields that are not named here are ignored.
What the format has no field for is in `neuron_signatures`, which viewers ignore: of the file, and of each node. Of a
link it is in the link's own fields `total`, `measured` and `share`, as in `graph.Edge`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT: Final = 20_000
"""Characters of a label or a token that are read."""
MAX_PROMPT: Final = 4 << 20
MAX_TOKENS: Final = 100_000
MAX_NODES: Final = 20_000
MAX_LINKS: Final = 1_000_000
MAX_INT: Final = (1 << 31) - 1
SCHEMA_VERSION: Final = 1
"""With it, viewers take `feature` for the Cantor pair of layer and index."""
OWN_VERSION: Final = 1
"""Of `neuron_signatures`."""

FEATURE: Final = "cross layer transcoder"
"""The type that viewers draw with examples, and so the type of a neuron."""
ERROR: Final = "mlp reconstruction error"
EMBEDDING: Final = "embedding"
LOGIT: Final = "logit"

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Id = Annotated[str, Field(min_length=1, max_length=200)]
Index = Annotated[int, Field(ge=-1, le=MAX_INT)]


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Generator(Part):
    name: Text = ""
    version: Text | None = None
    url: Text | None = None


class Info(Part):
    description: Text = ""
    generator: Generator = Generator()
    create_time_ms: int | float | None = None


class PruningSettings(Part):
    node_threshold: float | None = None
    edge_threshold: float | None = None


class Metadata(Part):
    """`node_threshold`: the largest `influence` that viewers show at first, and the end of their slider."""

    slug: Text = ""
    scan: Text = ""
    transcoder_list: list[Text] = []
    prompt_tokens: Annotated[list[Text], Field(min_length=1, max_length=MAX_TOKENS)]
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    schema_version: int | None = None
    node_threshold: float | None = None
    info: Info = Info()
    generation_settings: dict[str, Any] = {}
    pruning_settings: PruningSettings = PruningSettings()


class QParams(Part):
    """What a viewer shows at first. One that has saved a graph writes the lists as text (ids with commas, and JSON),
    and null for what it has not changed."""

    pinnedIds: list[Text] | Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    supernodes: list[list[Text]] | Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    linkType: Text | None = "both"
    clickedId: Text | None = ""
    sg_pos: Text | None = ""
    clerps: list[list[Text]] | Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    """Names that a person gave to features in a viewer. Not written: a viewer throws if it is there and no text."""


class GraphNode(Part):
    """`influence` null means unknown; a viewer hides a node that lacks the field, but not one where it is null."""

    node_id: Id
    feature: int | None = None
    layer: Text | int
    ctx_idx: Index
    feature_type: Text
    jsNodeId: Text = ""
    clerp: Text | None = None
    influence: float | None = None
    activation: float | None = None
    token_prob: float | None = None
    is_target_logit: bool = False
    neuron_signatures: dict[str, Any] | None = None


class Link(Part):
    source: Id
    target: Id
    weight: float
    total: float | None = None
    measured: float | None = None
    share: float | None = None
    other_heads: float | None = None


class EdgeHeads(Part):
    """The shares of an edge's attention heads: layer, head, weight of each."""

    source: Id
    target: Id
    heads: list[Annotated[tuple[int, int, float], Field(strict=False)]]


class OwnData(Part):
    """What the format has no field for."""

    format_version: int
    n_layers: Annotated[int, Field(ge=1, le=1 << 16)]
    prompt: dict[str, Any]
    groups: dict[str, Any] = {}
    heads: list[EdgeHeads] = []
    settings: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    dropped_links: Annotated[int, Field(ge=0)] = 0
    """Of the weakest links, left out to keep the file small."""
    dropped_heads: Annotated[int, Field(ge=0)] = 0
    """The number of links whose heads are left out."""


class GraphFile(Part):
    """A whole file."""

    metadata: Metadata
    qParams: QParams = QParams()
    nodes: Annotated[list[GraphNode], Field(min_length=1, max_length=MAX_NODES)]
    links: Annotated[list[Link], Field(max_length=MAX_LINKS)]
    neuron_signatures: OwnData | None = None
