"""A client of the Live view without a server: hand-made answers about the demo model, and what it was asked.

page = live_page(root, FakeClient())
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from neuron_signatures.api.live import (
    ActivationsAnswer,
    ActivationsRequest,
    Chance,
    Controls,
    GenerateAnswer,
    Generated,
    GenerateRequest,
    InfluenceAnswer,
    InfluenceRequest,
    InfluenceRow,
    InterveneAnswer,
    InterveneRequest,
    NeuronActs,
    NextTokenAnswer,
    NextTokenRequest,
    TargetAnswer,
    Token,
    TopAct,
)
from neuron_signatures.api.models import (
    DeviceMemory,
    Health,
    KnownModel,
    LoadRequest,
    Memory,
    ModelFacts,
    ModelList,
    ModelState,
)
from neuron_signatures.api.runs import RunFacts
from neuron_signatures.client import ServerProblem
from neuron_signatures.dashboard.live.server_at import ServerAt
from neuron_signatures.runs.run import Run

URL = "http://127.0.0.1:8600"
WORDS = ["<bos>", "The", " capital", " of", " the", " state", " containing", " Dallas", " is"]
CLIENTS: dict[str, Any] = {}
"""The clients by address; the script of a page, which runs in this process, takes its own from here."""


def facts(**changed: Any) -> ModelFacts:
    values: dict[str, Any] = {
        "model_name": "demo", "model_revision": None, "architecture": "Gemma2ForCausalLM", "n_layers": 5, "d_mlp": 512,
        "d_model": 128, "vocab": 1500, "context": 128, "parameters": 2_000_000, "dtype": "fp32", "device": "cpu",
        "quantization": "none", "weights_bytes": 8_000_000, "adds_bos": True, "loaded_seconds": 0.5,
    }  # fmt: skip
    return ModelFacts(**{**values, **changed})


def known(name: str, **changed: Any) -> KnownModel:
    values: dict[str, Any] = {
        "model_name": name, "architecture": "LlamaForCausalLM", "parameters": 135_000_000, "n_layers": 30,
        "d_mlp": 1536, "gated": False, "weights_bytes": 540_000_000, "weights_bytes_4bit": None, "fits": "as it is",
        "in_cache": True,
    }  # fmt: skip
    return KnownModel(**{**values, **changed})


def chance(token: str, prob: float, rank: int, token_id: int | None = None) -> Chance:
    logit = 10 * prob
    return Chance(token_id=700 + rank if token_id is None else token_id, token=token, logit=logit,
                  log_prob=logit - 10, prob=prob, rank=rank)  # fmt: skip


class FakeClient:
    """Answers at once. `asked` holds all requests; `problems` maps a method to what it raises."""

    def __init__(self, state: ModelState | None = None, *, words: list[str] | None = None, runs: Path | None = None):
        self.state = state or ModelState(state="ready", model_name="demo", facts=facts())
        self.words = words or WORDS
        self.listed = [known("demo", n_layers=5, d_mlp=512), known("smollm2"),
                       known("google/gemma-2-2b", gated=True, fits="no", in_cache=False)]  # fmt: skip
        self.asked: list[Any] = []
        self.problems: dict[str, ServerProblem] = {}
        self._runs = {} if runs is None else {p.name: Run.open(p) for p in sorted(runs.iterdir())}

    def count(self, kind: type) -> int:
        return sum(isinstance(r, kind) for r in self.asked)

    def health(self) -> Health:
        self._check("health")
        return Health(version="1", started_at_utc="2026-11-23T00:00:00+00:00", model=self.state)

    def models(self) -> ModelList:
        self._check("models")
        return ModelList(current=self.state, models=self.listed)

    def memory(self) -> Memory:
        self._check("memory")
        ram = DeviceMemory(device="cpu", name="RAM", total=16_000_000_000, free=9_000_000_000, used_by_server=10**9)
        gpu = DeviceMemory(device="cuda:0", name=self.words[1], total=80_000_000_000, free=70_000_000_000)
        return Memory(devices=[gpu], ram=ram, weights_bytes=8_000_000, queue=2)

    def load_model(self, request: LoadRequest, /, *, wait: bool) -> ModelState:
        self._check("load_model", request)
        self.state = ModelState(state="loading", model_name=request.model_name)
        return self.state

    def unload_model(self) -> ModelState:
        self._check("unload_model")
        self.state = ModelState(state="none")
        return self.state

    def run(self, run: str) -> RunFacts:
        self._check("run")
        if run not in self._runs:
            raise ServerProblem("not_found", f"there is no run {run}", status=404)
        m = self._runs[run].manifest
        same = {k: v for k, v in m.model_dump().items() if k in RunFacts.model_fields and k not in ("prompts", "units")}
        return RunFacts(
            **same, name=run, units="neurons", bos="", n_failed=0, n_bytes=0, stages=[], prompts=[], problems=[]
        )

    def next_token(self, request: NextTokenRequest, /) -> NextTokenAnswer:
        self._check("next_token", request)
        top = [chance(" Austin", 0.78, 0), chance(self.words[-1], 0.11, 1), chance(" Texas", 0.05, 2)]
        asked = [chance(t, 0.01, 40 + i) for i, t in enumerate(request.tokens)]
        return NextTokenAnswer(tokens=self._tokens(), pos=request.pos % len(self.words), top=top, asked=asked,
                               entropy=0.9, warnings=[])  # fmt: skip

    def activations(self, request: ActivationsRequest, /) -> ActivationsAnswer:
        self._check("activations", request)
        z = 8.0 if request.against_run else None
        top = [
            TopAct(pos=pos % len(self.words), layer=3, neuron=n, act=sign * 2.5, z=None if z is None else sign * z)
            for pos in request.positions or [] for n, sign in ((508, 1), (14, -1))
        ]  # fmt: skip
        acts: list[float | None] = [0.1 * i for i in range(len(self.words))]
        neurons = [NeuronActs(layer=n.layer, neuron=n.neuron, acts=acts) for n in request.neurons]
        return ActivationsAnswer(
            tokens=self._tokens(), neurons=neurons, top=top[: request.top_k * len(top)], layers=[], warnings=[],
            ordered_by="z" if request.against_run else "act", reference=f"run {request.against_run}, 78 tokens",
        )  # fmt: skip

    def influence(self, request: InfluenceRequest, /) -> InfluenceAnswer:
        self._check("influence", request)
        row = InfluenceRow(pos=len(self.words) - 1, layer=4, neuron=178, act=-1.5, reference=0.0, influence=2.25)
        return InfluenceAnswer(
            tokens=self._tokens(), on=self._target(request.on.foil), metric=request.metric, reference=request.reference,
            rows=[row], sum_all=3.0, sum_abs=9.0, share_shown=0.25, warnings=[],
        )  # fmt: skip

    def intervene(self, request: InterveneRequest, /) -> InterveneAnswer:
        self._check("intervene", request)
        n = request.controls
        return InterveneAnswer(
            tokens=self._tokens(), before=self._target(request.on.foil), after=self._target(request.on.foil, 0.2),
            effect=-5.8, kl=0.83, top_before=[chance(" Austin", 0.78, 0), chance(" Boston", 0.1, 1)],
            top_after=[chance(" Boston", 0.6, 0, 701), chance(" Austin", 0.2, 1, 700)],
            controls=Controls(n=n, mean=0.01, std=0.05, largest=-0.1, p=1 / (1 + n)), warnings=[],
        )  # fmt: skip

    def generate(self, request: GenerateRequest, /) -> GenerateAnswer:
        self._check("generate", request)
        plain, edited = (Generated(text=t, tokens=self._tokens()[:1], finished=False) for t in (" Austin.", " Boston."))
        return GenerateAnswer(prompt=self._tokens(), edited=edited, plain=plain, warnings=[])

    def _tokens(self) -> list[Token]:
        return [Token(pos=i, token_id=2 + i, token=t) for i, t in enumerate(self.words)]

    def _target(self, foil: str | None, prob: float = 0.78) -> TargetAnswer:
        other = None if foil is None else chance(foil, 0.01, 9)
        return TargetAnswer(pos=len(self.words) - 1, target=chance(" Austin", prob, 0), foil=other, value=10 * prob)

    def _check(self, method: str, request: Any = None) -> None:
        if request is not None:
            self.asked.append(request)
        if method in self.problems:
            raise self.problems[method]


def server_at(client: Any) -> ServerAt:
    return ServerAt(URL, lambda url, seconds: client)


def live_page(root: Path, client: Any, *, run: str = "demo", **state: Any) -> AppTest:
    """The view Live of a run with this client, not run yet."""
    name = f"{id(client)}"
    CLIENTS[name] = client
    script = (
        "from pathlib import Path\nfrom fake_live import CLIENTS, server_at\n"
        "from neuron_signatures.dashboard.shell.page import show\n"
        f"show(Path({str(root)!r}), {run!r}, server_at(CLIENTS[{name!r}]))\n"
    )
    page = AppTest.from_string(script, default_timeout=60)
    page.query_params["view"] = "live"
    for key, value in state.items():
        page.session_state[key] = value
    return page


def no_server() -> ServerProblem:
    return ServerProblem("no_server", f"no server at {URL}", next_step="Start one")


def absent() -> FakeClient:
    """A client of an address at which nothing answers."""
    client = FakeClient()
    client.problems = dict.fromkeys(
        ("health", "models", "memory", "run", "next_token", "activations", "influence", "intervene", "generate"),
        no_server(),
    )
    return client
