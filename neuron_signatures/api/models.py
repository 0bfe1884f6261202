"""Messages about the server and its model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuron_signatures.api.base import Answer, Message, Name
from neuron_signatures.runs.manifest import Dtype

QuantizationRequest = Literal["auto", "none", "8bit", "4bit"]
State = Literal["none", "loading", "ready", "failed"]


class LoadRequest(Message):
    """Load a model instead of the present one. The present one is unloaded first: one model at a time.

    `quantization` auto: none if the weights fit into the free memory, else 8bit, else 4bit.
    """

    model_name: Name
    model_revision: Name | None = None
    model_dtype: Dtype | None = None
    """None: the server's default (bf16 on a GPU, fp32 on the CPU)."""
    quantization: QuantizationRequest = "auto"
    device: Name | None = None
    """None: the server's `--device`."""
    wait_seconds: float = Field(default=0.0, ge=0.0, le=600.0)
    """How long the answer waits for the end of loading. Afterwards the state says whether it goes on."""


class ModelFacts(Answer):
    """The loaded model. `quantization` is what was chosen, `quantization_reason` why (empty if it was asked for)."""

    model_name: str
    model_revision: str | None
    architecture: str
    n_layers: int
    d_mlp: int
    d_model: int
    vocab: int
    context: int | None
    parameters: int
    dtype: Dtype
    device: str
    quantization: str
    quantization_reason: str = ""
    weights_bytes: int
    adds_bos: bool
    loaded_seconds: float


class ModelState(Answer):
    """`model_name` is that of the loaded model, or of the one that is being loaded or failed to."""

    state: State
    model_name: str | None = None
    facts: ModelFacts | None = None
    failure: str = ""
    """Why loading failed, one line."""


class KnownModel(Answer):
    """A model that the server will load. Sizes are of the weights alone, in the server's default dtype. Null: unknown
    before it is loaded, as for a model of the Hub that is not among the suggested ones.

    `fits` is relative to the memory that would be free without the present model: by the rule that chooses the
    quantisation for a folder, by the weights alone for a suggested model.
    """

    model_name: str
    architecture: str
    parameters: int | None
    n_layers: int | None
    d_mlp: int | None
    gated: bool
    weights_bytes: int | None
    weights_bytes_4bit: int | None
    """Estimated: for a suggested model, as if bitsandbytes quantised 85 % of the parameters."""
    fits: Literal["as it is", "8bit", "4bit", "no"] | None
    in_cache: bool
    """Whether its weights are on this machine."""


class ModelList(Answer):
    current: ModelState
    models: list[KnownModel]


class DeviceMemory(Answer):
    """Bytes. `used_by_server` is what this process holds there (null: unknown)."""

    device: str
    name: str
    total: int
    free: int
    used_by_server: int | None = None


class Memory(Answer):
    devices: list[DeviceMemory]
    """The GPUs; empty without one."""
    ram: DeviceMemory
    weights_bytes: int
    """Of the loaded model; 0 without one."""
    queue: int
    """Requests that wait for the model, the running one included."""


class Health(Answer):
    status: Literal["ok"] = "ok"
    version: str
    started_at_utc: str
    model: ModelState
