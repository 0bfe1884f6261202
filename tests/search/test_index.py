"""`search_neurons index` and `find` from the command line, and what an index keeps of the one before."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from explanation_logs import explanation, write_log
from record_runs import make_record_run
from search_runs import TEXTS, WordEmbedder, entries, explained_run, index, write_writes

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.search.hits import Contents, Embedder
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.runs.stage_summaries import stage_summaries
from neuron_signatures.search.ask import check_model
from neuron_signatures.search.embedding import PARTIAL, identity, same_model
from neuron_signatures.search_neurons import main


@pytest.fixture
def run_dir(tmp_path):
    return explained_run(tmp_path / "run")


def run(*argv: object) -> int:
    return main([str(a) for a in argv])


def files(run_dir) -> set[str]:
    return {p.name for p in (run_dir / "search").iterdir()} if (run_dir / "search").is_dir() else set()


def test_index_and_find(run_dir, capsys):
    assert run("index", "--run_dir", run_dir, "--embedder", "none", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["n_explanations"] == len(TEXTS) and summary["n_exemplars"] > 0 and summary["embedder"] is None
    assert files(run_dir) == {"words.sqlite", "rows.safetensors", "search_meta.json"}
    assert run("find", "--run_dir", run_dir, "capital cities", "--kinds", "explanation", "--top_k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["score", "neuron", "what", "text"] and "L0N0+" in lines[1] and len(lines) == 4
    assert lines[3].startswith("note: 1 hit has every word")
    assert run("find", "--run_dir", run_dir, "Austin", "--kinds", "exemplar", "--json") == 0
    hit = json.loads(capsys.readouterr().out)["hits"][0]
    assert hit["kind"] == "exemplar" and hit["rank"] >= 1 and hit["text"][slice(*hit["peak"])] == " Austin"
    assert "search" in stage_summaries(run_dir) and "by words" in stage_summaries(run_dir)["search"].text()


def test_find_by_token(run_dir, capsys):
    assert run("find", "--run_dir", run_dir, " Austin", "--by", "token") == ExitCode.USAGE
    assert "Make them with `python -m neuron_signatures.poc2_analyze_run" in capsys.readouterr().err
    write_writes(run_dir, {(0, 1): ([(" Austin", 1.0)], [(" Texas\x1b[31m", -1.0)])})
    assert run("find", "--run_dir", run_dir, "Austin", "--by", "token") == 0
    assert "1.000  L0N1+        1                  ·Austin  (z +2.0)" in capsys.readouterr().out
    assert run("find", "--run_dir", run_dir, "texas", "--by", "token", "--suppressed") == 0
    out = capsys.readouterr().out
    assert "-1.000  L0N1+" in out and "\\x1b[31m" in out and "\x1b" not in out


def test_dry_run_writes_nothing_and_layers_are_restricted(run_dir, capsys):
    assert run("index", "--run_dir", run_dir, "--embedder", "none", "--dry_run", "--json") == 0
    every = json.loads(capsys.readouterr().out)
    assert files(run_dir) == set() and every["bytes"] > 0
    assert run("index", "--run_dir", run_dir, "--embedder", "none", "--layers", "1", "--exemplars", 1, "--json") == 0
    one = json.loads(capsys.readouterr().out)
    assert 0 < one["n_exemplars"] < every["n_exemplars"] and one["n_explanations"] == 4
    assert run("find", "--run_dir", run_dir, "capital", "--kinds", "explanation") == 0
    assert "L0N" not in capsys.readouterr().out
    with (run_dir / "explanations" / "a.jsonl").open("a") as f:
        more = explanation("capital", layer=0), explanation("capital", neuron=7)
        f.writelines(f"{e.model_dump_json()}\n" for e in more)
    assert run("find", "--run_dir", run_dir, "capital", "--kinds", "explanation") == 0
    out = capsys.readouterr().out
    assert "L0N" not in out and "L1N7+" in out and "note: 1 explanation added" in out
    assert run("index", "--run_dir", run_dir, "--layers", "7") == ExitCode.USAGE


@pytest.mark.parametrize(("argv", "message"), [
    (["find", "--run_dir", "{run}", "..."], "there is no word to look for"),
    (["find", "--run_dir", "{run}", "x", "--by", "meaning"], "there is no index to search by meaning"),
    (["find", "--run_dir", "{run}", "x", "--kinds", "texts"], "'texts' is not a list of explanation, exemplar"),
    (["find", "--run_dir", "{run}", "L3N14"], "Give a word of letters or digits; L3, L3N14- and set:NAME only"),
    (["find", "--run_dir", "{run}", "x", "--suppressed"], "--suppressed: not with --by words. Give --by token"),
    (["find", "--run_dir", "{run}", "x", "--by", "token", "--kinds", "exemplar"], "--kinds: written tokens are of no"),
    (["find", "--run_dir", "{run}/none", "x"], "there is no such run folder"),
    (["index"], "the following arguments are required: --run_dir"),
    (["indexx"], "invalid choice: 'indexx'"), ([], "the following arguments are required"),
])  # fmt: skip
def test_common_mistakes_are_one_line(run_dir, capsys, argv, message):
    assert run(*(a.format(run=run_dir) for a in argv)) in (ExitCode.USAGE, ExitCode.BAD_RUN)
    err = capsys.readouterr().err.strip()
    assert message in err and "\n" not in err


def test_a_locked_run_is_left_alone(run_dir):
    with run_lock(run_dir):
        assert run("index", "--run_dir", run_dir, "--embedder", "none") == ExitCode.LOCKED
    assert files(run_dir) == set()


def test_a_run_without_explanations_or_records(tmp_path, capsys):
    from run_folders import write_run

    run_dir = write_run(tmp_path / "run")
    assert run("index", "--run_dir", run_dir, "--embedder", "none", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert warnings[:2] == ["the run has no records, so it has no exemplars", "the run has no explanations"]
    assert Search.open(run_dir).by_words("x").hits == ()
    assert run("find", "--run_dir", run_dir, "x") == 0
    assert "note: There are no explanations and no exemplars yet" in capsys.readouterr().out
    write_log(run_dir, explanation("capital"))
    assert len(Search.open(run_dir).by_words("capital").hits) == 1


def vectors_of(run_dir) -> dict[str, np.ndarray]:
    """By text, from the index in the run."""
    import sqlite3

    with ArrayFile(run_dir / "search" / "vectors.safetensors") as file:
        vectors = file.read("vectors")
    conn = sqlite3.connect(run_dir / "search" / "words.sqlite")
    found = {text: vectors[id_] for id_, text in conn.execute("SELECT id, content FROM text")}
    conn.close()
    return found


def test_each_text_is_embedded_once_and_vectors_are_used_again(run_dir):
    first = WordEmbedder()
    index(run_dir, first)
    assert len(first.embedded) == len(set(first.embedded)) == len(vectors_of(run_dir))
    write_log(run_dir, *entries({**TEXTS, "L0N0+": "something new"}))
    second = WordEmbedder()
    index(run_dir, second)
    assert second.embedded == ["something new"]
    for text, vector in vectors_of(run_dir).items():
        np.testing.assert_allclose(vector, first.vector(text), atol=1e-3)
    other = WordEmbedder(fingerprint="words:2")
    index(run_dir, other)
    assert len(other.embedded) == len(vectors_of(run_dir))
    index(run_dir)
    assert "vectors.safetensors" not in files(run_dir)


class Interrupted(WordEmbedder):
    """Stops after some texts, as a signal would."""

    def embed(self, texts, *, batch_size=64):
        if self.embedded:
            raise KeyboardInterrupt
        return super().embed(texts, batch_size=batch_size)


def test_a_stopped_command_goes_on_and_the_earlier_index_stays(run_dir, monkeypatch):
    monkeypatch.setattr("neuron_signatures.search.embedding._AT_ONCE", 5)
    index(run_dir, kinds=("explanation",))
    with pytest.raises(KeyboardInterrupt):
        index(run_dir, Interrupted())
    assert PARTIAL in files(run_dir) and not any(name.startswith(".tmp") for name in files(run_dir))
    assert Search.open(run_dir).by_words("capital").hits
    rest = WordEmbedder()
    index(run_dir, rest)
    assert len(rest.embedded) == len(vectors_of(run_dir)) - 5 and PARTIAL not in files(run_dir)
    whole = explained_run(run_dir.parent / "whole")
    index(whole, WordEmbedder())
    for text, vector in vectors_of(whole).items():
        np.testing.assert_array_equal(vectors_of(run_dir)[text], vector)


def test_the_unfinished_part_of_other_texts_or_another_model_is_not_used(run_dir, monkeypatch):
    monkeypatch.setattr("neuron_signatures.search.embedding._AT_ONCE", 5)
    with pytest.raises(KeyboardInterrupt):
        index(run_dir, Interrupted())
    write_log(run_dir, *entries({"L0N0+": "something new"}))
    rest = WordEmbedder()
    index(run_dir, rest)
    assert len(rest.embedded) == len(vectors_of(run_dir))


def test_models_are_the_same_by_their_weights_or_by_name_and_commit():
    a = Embedder("minilm", "bytes:1", None, 4)
    assert same_model(a, a._replace(name="folder")) and not same_model(a, a._replace(fingerprint="bytes:2"))
    hub = Embedder("org/model", None, "c1", 4)
    assert same_model(hub, hub) and not same_model(hub, hub._replace(revision="c2"))
    assert not same_model(hub, a) and identity(WordEmbedder("x", fingerprint=None)).revision == "abc"  # type: ignore[arg-type]


def test_a_query_by_another_model_is_refused():
    contents = Contents(1, 0, True, Embedder("minilm", "bytes:1", None, 16), False)
    with pytest.raises(UsageError, match="made with minilm, bytes:1, the query would be embedded by words, words:1"):
        check_model(contents, WordEmbedder())  # type: ignore[arg-type]


def test_a_model_that_the_run_names_is_not_loaded(run_dir, capsys):
    index(run_dir, WordEmbedder("/tmp/evil-model"))
    assert run("find", "--run_dir", run_dir, "x", "--by", "meaning") == ExitCode.USAGE
    assert "the index was made with the model '/tmp/evil-model'. Give --embedder, if you trust it" in (
        capsys.readouterr().err
    )


def test_words_and_tokens_need_no_model_library(run_dir):
    """Neither making an index without an embedder nor asking it imports torch."""
    import subprocess

    from paths import ROOT

    make_record_run(run_dir, n_documents=20)
    code = """
import sys
from neuron_signatures.search_neurons import main
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["safetensors"] = None
for argv in (["index", "--embedder", "none"], ["index"], ["find", "capital"]):
    assert main([argv[0], *argv[1:], "--run_dir", sys.argv[1]]) == 0, argv
"""
    done = subprocess.run([sys.executable, "-c", code, str(run_dir)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "torch is not installed: nothing is searched by meaning" in done.stderr


@pytest.mark.real
def test_minilm_finds_what_words_do_not(tmp_path, capsys):
    run_dir = make_record_run(tmp_path / "run", n_documents=10)
    texts = {"L0N0+": "names of rivers and lakes", "L0N1+": "words about anger and rage", "L0N2+": "Python source code"}
    write_log(run_dir, *entries(texts))
    assert run("index", "--run_dir", run_dir, "--kinds", "explanation", "--embedder", "minilm", "--quiet") == 0
    for query, label in (("furious people", "L0N1+"), ("water bodies", "L0N0+"), ("programming", "L0N2+")):
        capsys.readouterr()
        assert run("find", "--run_dir", run_dir, query, "--by", "meaning", "--top_k", 1, "--json") == 0
        hit = json.loads(capsys.readouterr().out)["hits"][0]
        assert f"L{hit['layer']}N{hit['neuron']}{hit['pole']}" == label
        assert run("find", "--run_dir", run_dir, query, "--json") == 0
        assert json.loads(capsys.readouterr().out)["hits"] == []
