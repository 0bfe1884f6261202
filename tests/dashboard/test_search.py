"""The view Search: by words and written tokens from the run alone, by meaning through a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from analysis_runs import BOS, make_run, random_acts
from explanation_logs import write_log
from explorer import HOSTILE, page_of, plain_run, read_as_markdown, shown
from fake_live import CLIENTS
from hostile import CONTROLS
from search_runs import WordEmbedder, entries, explained_run, index, write_writes
from streamlit.testing.v1 import AppTest

from neuron_signatures.api.runs import RunFacts
from neuron_signatures.api.search import Hit, SearchAnswer, SearchRequest
from neuron_signatures.client import ServerProblem
from neuron_signatures.dashboard.search.address import asked_of, parts_of
from neuron_signatures.dashboard.shell.state import Selection, View, address, resolve
from neuron_signatures.dashboard.widgets.elements import chosen_cell
from neuron_signatures.runs.run import Run
from neuron_signatures.views.search_run.asked import Asked

WRITES = {(0, 1): ([(" Austin", 1.0), ("\n", 0.5)], [(" Texas", -2.0)]), (1, 3): ([(" Austin", 2.0)], [])}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs root with an indexed run of records, and one of prompts with explanations and no index."""
    root = tmp_path_factory.mktemp("made")
    run_dir = explained_run(root / "run")
    write_writes(run_dir, WRITES)
    index(run_dir)
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(root / "prompts", prompts, random_acts(prompts, n_layers=2, d_mlp=12))
    write_log(root / "prompts", *entries())
    return root


def search_page(root: Path, run: str = "run", **parts: str) -> AppTest:
    page = page_of(root, "search", run=run)
    for key, value in parts.items():
        page.query_params[key] = value
    return page.run()


def hits(page: AppTest) -> Any:
    return page.dataframe[-1].value


def part(page: AppTest, name: str) -> str:
    """A part of the page's address."""
    found = page.query_params[name]
    return found if isinstance(found, str) else found[0]


def test_words_are_found_in_explanations_and_exemplars(made):
    page = search_page(made, q="capital")
    assert not page.exception and not page.error
    assert "L1N3+" in hits(page)["neuron"].tolist() and "BM25" in hits(page)
    assert any(kind.startswith("explanation, a") for kind in hits(page)["found in"])
    assert any(kind.startswith("exemplar, window ") for kind in hits(page)["found in"])
    assert "ordered by BM25" in shown(page) and " ms" in shown(page)
    found = page.multiselect("search_kinds").set_value(["explanation"]).run()
    assert {kind.split(",")[0] for kind in hits(found)["found in"]} == {"explanation"}
    found = page.multiselect("search_layers").set_value([1]).run()
    assert {label[:3] for label in hits(found)["neuron"]} == {"L1N"}
    assert part(page, "kinds") == "explanation" and part(page, "layers") == "1"


def test_who_promotes_and_suppresses_a_token(made):
    page = search_page(made, q="·Austin", by="promotes")
    assert hits(page)["neuron"].tolist() == ["L1N3+", "L0N1+"] and hits(page)["z"].tolist() == [4.0, 2.0]
    assert hits(page)["explanation"].tolist()[0].startswith("the capital, the capital")
    page.button_group("search_by").set_value("suppresses").run()
    assert hits(page)["neuron"].tolist() == ["L1N3-", "L0N1-"] and hits(page)["write score"].tolist() == [-2.0, -1.0]
    page.text_input("search_q").set_value("⏎").run()
    assert hits(page)["token"].tolist() == ["⏎"] and part(page, "q") == "⏎"
    page.text_input("search_q").set_value("zebra").run()
    assert "0 hits" in shown(page) and "writes a token with this text" in shown(page) and not page.exception


def test_before_a_query_the_page_says_what_can_be_searched(made):
    text = shown(search_page(made))
    assert "8 explanations and" in text and "The search index has no vectors." in text
    assert "There is no search index yet." in shown(search_page(made, "prompts")) and "write_scores" in text + shown(
        search_page(made, "prompts")
    )


def test_explanations_are_found_without_an_index(made):
    page = search_page(made, "prompts", q='"capital cities"')
    assert hits(page)["neuron"].tolist()[0] == "L0N0+" and not page.error


def test_a_run_with_nothing_to_search_names_the_commands(tmp_path):
    plain_run(tmp_path / "run")
    page = search_page(tmp_path)
    assert not page.exception and not page.error and not page.text_input("jump").value
    assert "poc4_extract_records --run_dir" in shown(page) and "--mode write_scores" in shown(page)
    assert "search_q" not in [t.key for t in page.text_input]


@pytest.mark.parametrize(("by", "command"), [("meaning", "search_neurons index"), ("promotes", "write_scores")])
def test_a_way_that_lacks_its_files_names_the_command(made, by, command):
    page = search_page(made, "prompts", q="x", by=by)
    assert command in shown(page) and not page.error and not page.exception


def test_texts_that_were_added_after_the_index_are_found(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    index(run_dir)
    page = search_page(tmp_path, q="zebra")
    assert "0 hits" in shown(page)
    write_log(run_dir, *entries({"L0N3+": "a zebra"}), set_name="b")
    page = page.run()
    assert hits(page)["neuron"].tolist() == ["L0N3+"] and "1 explanation added" in shown(page)


@pytest.mark.parametrize("name", ["search_meta.json", "words.sqlite", "rows.safetensors"])
def test_a_damaged_index_gives_one_line_and_the_page_lives(tmp_path, name):
    run_dir = explained_run(tmp_path / "run")
    write_writes(run_dir, WRITES)
    index(run_dir)
    (run_dir / "search" / name).write_bytes(b"{} \x1b[31m")
    page = search_page(tmp_path, q="capital")
    assert not page.exception and len(page.error) >= 1 and name in shown(page)
    page = search_page(tmp_path, q=" Austin", by="promotes")
    assert not page.exception and hits(page)["neuron"].tolist() == ["L1N3+", "L0N1+"]


def test_a_query_without_a_word_is_explained(made):
    page = search_page(made, q="!!!")
    assert "there is no word to look for" in shown(page) and not page.exception


def test_hostile_texts_are_not_read_as_markdown(tmp_path):
    texts = [text.replace("\ud800", "") for text in (*HOSTILE, *CONTROLS)]
    poles = [f"L{layer}N{n}{pole}" for layer in (0, 1) for n in range(12) for pole in "+-"]
    run_dir = explained_run(tmp_path / "run", {at: f"{t} needle" for at, t in zip(poles, texts, strict=False)})
    write_writes(run_dir, {(0, n): ([(t, 1.0)], [(t, -1.0)]) for n, t in enumerate(HOSTILE)})
    index(run_dir)
    for parts in (
        {"q": "needle"},
        {"q": "EVIL", "by": "promotes"},
        {"q": HOSTILE[1]},
        {"q": HOSTILE[2], "by": "promotes"},
    ):
        page = search_page(tmp_path, **parts)
        assert not page.exception and "EVIL" not in read_as_markdown(page), parts
        assert "<img" not in shown(page) and "\x1b" not in shown(page)
        for column in ("text", "token"):
            if page.dataframe and column in hits(page):
                assert all(cell.isprintable() for cell in hits(page)[column])


# --- by meaning


class Server:
    """A server that holds the run of a folder, or `problem`."""

    def __init__(self, run_dir: Path, problem: ServerProblem | None = None, **changed: Any) -> None:
        self.run_dir, self.problem, self.changed = run_dir, problem, changed
        self.asked: list[SearchRequest] = []

    def run(self, name: str, /) -> RunFacts:
        if self.problem is not None:
            raise self.problem
        own = Run.open(self.run_dir).manifest.model_dump(exclude={"units", "prompts"})
        more = {"units": "neurons", "bos": "", "n_failed": 0, "n_bytes": 0, "stages": [], "prompts": [], "problems": []}
        own = {k: v for k, v in own.items() if k in RunFacts.model_fields}
        return RunFacts(**{**own, **more, "name": name, **self.changed})

    def search(self, run: str, request: SearchRequest, /) -> SearchAnswer:
        self.asked.append(request)
        hit = Hit(layer=1, neuron=3, pole="+", kind="explanation", text="<b>EVIL", score=0.75, set="a", explainer="a")
        return SearchAnswer(hits=[hit], notes=["an outdated index"], seconds=0.01)


@pytest.fixture(scope="module")
def with_vectors(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("vectors")
    index(explained_run(root / "run"), WordEmbedder())
    return root


def meaning_page(root: Path, server: Server) -> AppTest:
    name = f"{id(server)}"
    CLIENTS[name] = server
    script = (
        "from pathlib import Path\nfrom fake_live import CLIENTS, server_at\n"
        "from neuron_signatures.dashboard.shell.page import show\n"
        f"show(Path({str(root)!r}), 'run', server_at(CLIENTS[{name!r}]))\n"
    )
    page = AppTest.from_string(script, default_timeout=60)
    for key, value in {"view": "search", "q": "names of cities", "by": "meaning"}.items():
        page.query_params[key] = value
    return page.run()


def test_by_meaning_the_server_answers(with_vectors):
    server = Server(with_vectors / "run")
    page = meaning_page(with_vectors, server)
    assert not page.exception and not page.error
    assert hits(page)["cosine"].tolist() == [0.75] and "an outdated index" in shown(page)
    assert [(r.query, r.by) for r in server.asked] == [("names of cities", "meaning")]
    assert "EVIL" not in read_as_markdown(page)
    page.run()
    assert len(server.asked) == 1, "an answer is kept"


def test_without_a_server_the_page_says_how_to_start_one(with_vectors):
    page = meaning_page(with_vectors, Server(with_vectors / "run", ServerProblem("no_server", "no server")))
    assert not page.exception and not page.error
    assert "neuron_signatures.serve --model_name" in shown(page) and f"--runs_root {with_vectors}" in shown(page)
    assert "Words and written tokens are found without a server." in shown(page)


@pytest.mark.parametrize("problem", [None, ServerProblem("not_found", "there is no such run", status=404)])
def test_a_server_that_holds_another_run_does_not_answer(with_vectors, problem):
    server = Server(with_vectors / "run", problem, created_at_utc="2020-01-01T00:00:00+00:00")
    page = meaning_page(with_vectors, server)
    assert not page.exception and not page.error and not server.asked
    assert "no copy of this run" in shown(page) and "--runs_root" in shown(page)


def test_another_problem_of_the_server_is_shown(with_vectors):
    page = meaning_page(with_vectors, Server(with_vectors / "run", ServerProblem("queue_full", "\x1b[31mfull")))
    assert "\\x1b[31mfull" in shown(page) and not page.exception


# --- the address


@pytest.mark.parametrize(
    "asked",
    [Asked(), Asked("·Austin", "promotes"), Asked('"a b"', "words", ("exemplar",)),
     Asked("x", "meaning", layers=(0, 1)), Asked(" ?&=#%\x1b", "suppresses")],
)  # fmt: skip
def test_the_address_and_back(made, asked):
    run = Run.open(made / "run")
    problems: list[str] = []
    assert asked_of(parts_of(asked), run, problems) == asked and not problems
    selection = Selection("run", view=View.SEARCH, asked=asked)
    assert resolve(address(selection, run), run, Selection("run"), []).selection == selection


def test_invalid_parts_of_the_address_are_named(made):
    run = Run.open(made / "run")
    problems: list[str] = []
    found = asked_of({"q": "x" * 400, "by": "magic", "kinds": "exemplar,evil", "layers": "1,77,x"}, run, problems)
    assert (found.way, found.kinds, found.layers, len(found.query)) == ("words", ("exemplar",), (1,), 300)
    assert [p.split()[0] for p in problems] == ["by", "kinds", "layers:"]
    page = search_page(made, q="capital", by="\x1b<b>EVIL")
    assert "by is words" in shown(page) and "EVIL" not in read_as_markdown(page) and not page.exception
    assert len(hits(page))


def test_other_views_keep_what_was_asked_out_of_their_address(made):
    run = Run.open(made / "run")
    assert "q" not in address(Selection("run", view=View.NEURON, asked=Asked("x")), run)


def test_the_clicked_token_is_the_one_that_is_looked_for():
    event = {"selection": {"cells": [[1, "suppresses"]], "rows": [], "columns": []}}
    assert chosen_cell(event, 3, ["promotes", "suppresses"]) == (1, "suppresses")
    for cells in ([], [[3, "promotes"]], [[1, "other"]], [["1", "promotes"]], [[1]]):
        assert chosen_cell({"selection": {"cells": cells}}, 3, ["promotes", "suppresses"]) is None
