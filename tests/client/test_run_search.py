"""A search by meaning through a server: only in a copy of the run."""

from __future__ import annotations

from typing import Any

import pytest
from paths import DEMO_RUN

from neuron_signatures.api import search as api
from neuron_signatures.api.runs import RunFacts
from neuron_signatures.client import ServerProblem
from neuron_signatures.client.run_search import OtherRunError, by_meaning
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.hits import Hit
from neuron_signatures.views.search_run.asked import Asked

HIT = api.Hit(layer=3, neuron=8, pole="-", kind="exemplar", text="is Austin", score=0.5, rank=2, window=7, peak=(2, 9),
              value=-1.5)  # fmt: skip
MANIFEST = Run.open(DEMO_RUN).manifest


class Server:
    """One run, and one hit for every query."""

    def __init__(self, name: str = "demo", **changed: Any) -> None:
        self.name, self.changed = name, changed
        self.asked: list[api.SearchRequest] = []

    def run(self, name: str, /) -> RunFacts:
        if name != self.name:
            raise ServerProblem("not_found", "there is no such run", status=404)
        own = {
            k: v
            for k, v in MANIFEST.model_dump().items()
            if k in RunFacts.model_fields and k not in ("units", "prompts")
        }
        more = {"units": "neurons", "bos": "", "n_failed": 0, "n_bytes": 0, "stages": [], "prompts": [], "problems": []}
        return RunFacts(**{**own, **more, "name": name, **self.changed})

    def search(self, run: str, request: api.SearchRequest, /) -> api.SearchAnswer:
        self.asked.append(request)
        return api.SearchAnswer(hits=[HIT], notes=["outdated"], seconds=0.001)


def test_hits_are_those_of_the_server():
    server = Server()
    found = by_meaning(server, "demo", MANIFEST, Asked("cities", "meaning", ("exemplar",), (3,), 5000))
    assert found.hits == [
        Hit(NeuronPole(3, 8, "-"), "exemplar", "is Austin", 0.5, rank=2, window=7, peak=(2, 9), value=-1.5)
    ]
    assert found.notes == ("outdated",)
    [request] = server.asked
    assert (request.by, request.kinds, request.layers, request.top_k) == ("meaning", ("exemplar",), [3], 1000)


def test_the_server_chooses_the_texts_unless_one_kind_is_asked_for():
    server = Server()
    by_meaning(server, "demo", MANIFEST, Asked("cities", "meaning"))
    assert server.asked[0].kinds is None


@pytest.mark.parametrize(
    "changed", [{"created_at_utc": "2020-01-01T00:00:00+00:00"}, {"weights_fingerprint": "bytes:0"}, {"n_tokens": 1},
                {"layers": [0]}, {"model_name": "other"}],
)  # fmt: skip
def test_another_run_of_the_same_name_is_not_asked(changed):
    server = Server(**changed)
    with pytest.raises(OtherRunError, match=next(iter(changed))):
        by_meaning(server, "demo", MANIFEST, Asked("cities", "meaning"))
    assert not server.asked


def test_a_server_without_the_run_is_told_from_other_problems(monkeypatch):
    with pytest.raises(OtherRunError, match="has no run"):
        by_meaning(Server("other"), "demo", MANIFEST, Asked("cities", "meaning"))
    server = Server()
    monkeypatch.setattr(server, "run", lambda name: (_ for _ in ()).throw(ServerProblem("no_server", "none")))
    with pytest.raises(ServerProblem, match="none"):
        by_meaning(server, "demo", MANIFEST, Asked("cities", "meaning"))
