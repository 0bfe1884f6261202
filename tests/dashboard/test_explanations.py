"""Explanations in the explorer: on the neuron's page, as a list, and in the tables of other views."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from explanation_runs import Log, highlighted, lookup, unfinished, write_explanations, write_log
from explorer import HOSTILE, html_of, open_page, page_of, plain_run, read_as_markdown, shown
from record_runs import make_record_run
from streamlit.testing.v1 import AppTest

from neuron_signatures.dashboard.data import cached_explanations
from neuron_signatures.dashboard.explanations import list_panel
from neuron_signatures.dashboard.explanations.frames import row_frame, set_frame
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.views.explanations.reading import RunExplanations


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runs root with a run of two layers and three sets of explanations."""
    plain_run(tmp_path / "run")
    write_explanations(tmp_path / "run")
    return tmp_path


def neuron_page(root: Path, monkeypatch, layer: int, neuron: int) -> AppTest:
    page = open_page(root, monkeypatch, view="neuron", run="run", layer=str(layer), neuron=str(neuron))
    assert not page.exception
    return page


def cards(page: AppTest) -> list[str]:
    return [h for h in html_of(page) if '<div class="ns-exp' in h]


def listed(page: AppTest) -> pd.DataFrame:
    """The list of explanations: the last table of its view."""
    return page.dataframe[-1].value


@pytest.mark.parametrize("view", ["neuron", "explanations"])
def test_a_run_without_explanations_names_the_next_command(tmp_path: Path, monkeypatch, view):
    plain_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view=view)
    assert not page.exception and not page.error
    assert "poc4_extract_records --run_dir" in shown(page)
    make_record_run(tmp_path / "run", n_documents=30, n_sample=20)
    page = open_page(tmp_path, monkeypatch, view=view)
    assert "poc5_explain_neurons --run_dir" in shown(page) and not page.exception


def test_both_poles_are_shown_with_what_led_to_them(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, 0, 0)
    found = cards(page)
    text = "\n".join(found)
    first = found[0]
    assert "the token · Austin, or New York" in first and "locked by reviewer 1" in first  # a locked one comes first
    assert "precision 0.98, recall 0.75" in first and "·New + ·York" in first
    best = next(h for h in found if "state capitals, most of all Austin" in h)
    assert "chosen" in best and "0.710 by rule" in best and "current in its set" in best
    assert "<b>first</b> by some-model-2026-01" in best and "such as Austin" in best  # the chain
    assert "<b>revision 1</b>" in best and "sha256" in best and "812 prompt tokens" in best
    assert "words in capitals" in text and "undefined by rule" in text
    assert "1 failed" in text and "refused" in text and "I cannot help with that" in text
    assert "any token after a comma" in text and "40" in text  # the other pole, and the share of its mode


def test_what_people_added_is_marked_with_their_names(root: Path, monkeypatch):
    first = cards(neuron_page(root, monkeypatch, 0, 1))[0]
    assert "state capitals in the answer to a question about a state" in first
    assert "edited by reviewer 2" in first and "votes +2" in first
    assert first.count("<b>edit</b>") == 2 and "<b>first</b>" in first
    assert "note: checked on the report part: fires on Denver too (reviewer 2" in first


def test_a_pole_without_an_explanation_and_an_unfinished_set_say_so(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, 0, 2)
    assert "No explanation of this pole." in shown(page)
    assert sum("set not finished" in h for h in cards(page)) == 1


def test_many_samples_are_shown_in_steps(root: Path, monkeypatch):
    log = Log("many")
    for i in range(40):
        log.explain("L1N2+", f"sample number {i}", sample=i)
    write_log(root / "run", log)
    page = neuron_page(root, monkeypatch, 1, 2)
    assert len(cards(page)) == 7
    page.button(key="more_explanations_shown_L1N2+").click().run()
    assert len(cards(page)) == 27 and not page.exception


def test_the_list_has_the_counts_of_each_set_and_every_explanation(root: Path, monkeypatch):
    page = open_page(root, monkeypatch, view="explanations")
    assert not page.exception and not page.error
    sets = page.dataframe[0].value.set_index("set")
    assert sets.loc["highlighted", ["ok", "refused", "timed out", "by people"]].tolist() == [9, 1, 1, 2]
    assert sets["state"].to_dict() == {"contrastive": "not finished", "highlighted": "finished", "lookup": "finished"}
    assert "contrastive is not finished" in shown(page)
    rows = listed(page)
    assert len(rows) == 15 and "15 explanations" in shown(page)
    assert rows["neuron"].tolist() == sorted(rows["neuron"], key=lambda n: (n[:-1], n[-1]))
    assert "(refused: I cannot help with that)" in rows["explanation"].tolist()
    row = rows[rows["explanation"] == "state capitals, most of all Austin"].iloc[0]
    assert row["score"] == 0.71 and row["state"] == "current, chosen, revision 1" and row["set"] == "highlighted"
    assert "contrastive (not finished)" in rows["set"].tolist()
    assert "reviewer 2 (a person)" in rows["author"].tolist() and "+2" in rows["votes"].tolist()


@pytest.mark.parametrize(
    ("query", "n"),
    [("capital", 6), ("austin CAPITAL", 3), ('"state capital"', 4), ("is:locked", 1), ("author:human", 2), ("L0N0-", 2),
     (">0.5", 2), ("set:lookup token", 3), ("status:refused", 1), ("no such words", 0)],
)  # fmt: skip
def test_find_searches_texts_and_filters(root: Path, monkeypatch, query, n):
    page = open_page(root, monkeypatch, view="explanations")
    page.text_input(key="ui_exp_find").set_value(query).run()
    assert not page.exception and not page.error
    assert f"{n} that match, of 15 explanations" in shown(page)
    assert n == 0 or len(listed(page)) == n


def test_a_mistake_in_find_is_named_and_the_list_stays(root: Path, monkeypatch):
    page = open_page(root, monkeypatch, view="explanations")
    page.text_input(key="ui_exp_find").set_value("is:nothing").run()
    assert "is:nothing is no state" in shown(page) and len(listed(page)) == 15 and not page.exception


def test_filters_and_order_are_combined(root: Path, monkeypatch):
    page = open_page(root, monkeypatch, view="explanations")
    page.multiselect(key="ui_exp_sets").set_value(["highlighted"])
    page.multiselect(key="ui_exp_statuses").set_value(["ok"])
    page.selectbox(key="ui_exp_sort").set_value("score").run()
    scores = listed(page)["score"].tolist()
    assert scores[:3] == [0.71, 0.62, 0.31] and len(scores) == 9
    page.checkbox(key="ui_exp_reverse").check().run()
    assert listed(page)["score"].tolist()[:3] == [0.31, 0.62, 0.71]  # those without a score stay last
    page.multiselect(key="ui_exp_authors").set_value(["human"]).run()
    assert len(listed(page)) == 2 and not page.exception
    page.multiselect(key="ui_exp_states").set_value(["current"]).run()
    assert listed(page)["author"].tolist() == ["reviewer 2 (a person)"]


def test_the_list_is_shown_in_pages_and_begins_again_after_a_change(root: Path, monkeypatch):
    log = Log("many")
    for i in range(450):
        log.explain(f"L1N{i % 5}+", f"text {i}", sample=i)
    write_log(root / "run", log)
    page = open_page(root, monkeypatch, view="explanations")
    page.multiselect(key="ui_exp_sets").set_value(["many"]).run()
    assert len(listed(page)) == list_panel.ROWS and "rows 1 to 200; 450 that match" in shown(page)
    page.number_input(key="exp_page").set_value(3.0).run()
    assert len(listed(page)) == 50 and "rows 401 to 450" in shown(page)
    page.text_input(key="ui_exp_find").set_value("text").run()
    assert "rows 1 to 200" in shown(page)
    page.text_input(key="ui_exp_find").set_value("449").run()
    assert len(listed(page)) == 1 and not page.exception


def test_what_a_stage_appends_is_shown_without_a_warning(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, 0, 2)
    log = unfinished()
    log.explain("L0N2+", "a second explanation")
    with (root / "run" / EXPLANATIONS / "contrastive.jsonl").open("a") as f:
        f.write(json.dumps(log.entries[-1].model_dump(mode="json")) + "\n")
    page.run()
    assert any("a second explanation" in h for h in cards(page))
    assert "changed on disk" not in shown(page) and not page.exception


def test_a_replaced_log_is_reported_and_read(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, 0, 2)
    other = Log("highlighted")
    other.explain("L0N2-", "another text")
    path = root / "run" / EXPLANATIONS / "highlighted.jsonl"
    path.unlink()
    write_log(root / "run", other)
    page.run()
    text = shown(page)
    assert "changed on disk" in text and "explanations/highlighted.jsonl" in text and not page.exception
    assert any("another text" in h for h in cards(page)) and not any("keywords of Python" in h for h in cards(page))


def test_a_list_that_takes_long_is_read_again_only_when_asked(root: Path, monkeypatch):
    monkeypatch.setattr(cached_explanations, "_SLOW", -1.0)
    page = open_page(root, monkeypatch, view="explanations")
    assert "Read again" not in [b.label for b in page.button]
    write_log(root / "run", unfinished(), finished=True)
    log = Log("later")
    log.explain("L1N1+", "a later set")
    write_log(root / "run", log)
    page.run()
    assert len(listed(page)) == 15 and "explanations were added since" in shown(page)
    page.button(key="exp_read").click().run()
    assert len(listed(page)) == 16 and "were added since" not in shown(page) and not page.exception


@pytest.mark.parametrize("view", ["neuron", "explanations"])
def test_a_damaged_set_is_named_and_the_others_are_shown(root: Path, monkeypatch, view):
    path = root / "run" / EXPLANATIONS / "highlighted.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[0]) | {"text": "x" * 100_000}
    path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    page = open_page(root, monkeypatch, view=view, layer="0", neuron="0")
    text = shown(page)
    assert not page.exception and "highlighted.jsonl" in text and "line 1" in text
    if view == "neuron":
        assert any("the token · Austin" in h for h in cards(page))
    else:
        assert len(listed(page)) == 4


def test_a_torn_last_line_is_left_out(root: Path, monkeypatch):
    with (root / "run" / EXPLANATIONS / "highlighted.jsonl").open("a") as f:
        f.write('{"id": "0123456789abcdef", "set": "highl')
    page = open_page(root, monkeypatch, view="explanations")
    assert len(listed(page)) == 15 and not page.error and not page.exception


EVIL = "".join(HOSTILE[1:])


def evil_log() -> Log:
    """HTML, Markdown, TeX, a formula and control characters wherever a log has text."""
    name = EVIL[:180]
    log = Log("evil", model=name, answered_by=name, system_fingerprint=name, prompt_version=name)
    long = f"{EVIL} \x00\x1b[31m\u202e $x$ ![x](http://evil.invalid/p.png)\n" + EVIL * 40
    a = log.explain("L0N0+", long[:19_000])
    b = log.explain("L0N0+", f"=1+1 {EVIL} $x$", sample=1)
    log.choose("L0N0+", b, {a: 0.1, b: 0.2}, by=name)
    c = log.edit("L0N0+", f"{EVIL} \x1b]0;EVIL\x07", parent=b, by=name)
    log.note("L0N0+", c, EVIL, by=name)
    log.vote("L0N0+", c, 1, by=name)
    log.lock("L0N0+", c, by=name)
    log.explain("L0N0-", "", status="refused", reason=EVIL[:480])
    log.explain("L0N1-", EVIL, explainer=name)
    return log


@pytest.mark.parametrize("view", ["neuron", "explanations", "compare"])
def test_hostile_text_is_never_markup(tmp_path: Path, monkeypatch, view):
    plain_run(tmp_path / "run")
    write_log(tmp_path / "run", evil_log(), finished=False)
    page = open_page(tmp_path, monkeypatch, view=view, layer="0", neuron="0", pins="L0N0,L0N1")
    page.text_input(key="ui_author").set_value("reviewer 1").run() if view == "neuron" else None
    assert not page.exception and not page.error
    assert "EVIL" not in read_as_markdown(page)
    for h in html_of(page):
        assert not any(tag in h for tag in ("<img", "<script", "<iframe", "<b>EVIL", "\x00", "\x1b", "\u202e", "\x07"))
    if view == "explanations":
        texts = "".join(listed(page)["explanation"])
        assert "EVIL" in texts and not any(c in texts for c in "\x00\x1b\u202e\x07\n")
    else:
        assert any("&lt;img src=x" in h for h in html_of(page))
    boxes = "".join(str(box.value) for box in page.text_area)
    assert not any(c in boxes for c in "\x00\x1b\u202e\x07")


def test_hostile_tables_are_escaped(tmp_path: Path):
    plain_run(tmp_path / "run")
    write_log(tmp_path / "run", evil_log())
    run = RunExplanations.read(tmp_path / "run")
    for frame in (row_frame(run.table.rows()), set_frame(run.sets)):
        texts = "".join(str(v) for column in frame for v in frame[column])
        assert "EVIL" in texts and texts.isprintable()


def test_tables_of_other_views_have_the_explanation_of_their_pole(demo: Path, monkeypatch):
    log = Log("highlighted")
    log.explain("L4N178+", "the word before the name of a capital")
    log.explain("L3N508-", "questions about states")
    write_log(demo / "demo", log)
    stem = "influence_seed_prompt_dla_next_token_pos8_tok704"
    page = open_page(demo, monkeypatch, view="ranking", list=stem, layer="4", neuron="178")
    rows = page.dataframe[0].value.set_index("neuron")
    assert rows.loc["L4N178", "explanation"] == "the word before the name of a capital  (highlighted)"
    assert rows["explanation"].astype(bool).sum() == 1  # L3N508 is positive in this list
    page = open_page(demo, monkeypatch, view="compare", pins="L4N178,L3N508")
    text = shown(page)
    assert "explained at +" in text and "questions about states" in text and not page.exception
    write_log(demo / "demo", log, finished=False)
    (demo / "demo" / EXPLANATIONS / "highlighted_meta.json").unlink()
    assert "1 set unfinished" in shown(open_page(demo, monkeypatch, view="overview"))


def test_tables_without_explanations_have_no_empty_column(demo: Path, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking")
    assert "explanation" not in page.dataframe[0].value and not page.exception


def test_the_neurons_of_a_corpus_have_their_explanations(tmp_path: Path):
    plain_run(tmp_path / "run")
    make_record_run(tmp_path / "run", n_documents=30, n_sample=20)
    write_log(tmp_path / "run", lookup())
    page = page_of(tmp_path, "ranking", ui_rank_part="Corpus").run()
    rows = page.dataframe[0].value
    assert not page.exception and "the token · Austin, or New York  (lookup, locked)" in rows["explained at +"].tolist()
    assert "any token after a comma  (lookup)" in rows["explained at -"].tolist()


def test_the_sets_of_a_log_of_one_set(tmp_path: Path):
    plain_run(tmp_path / "run")
    write_log(tmp_path / "run", highlighted())
    frame = set_frame(RunExplanations.read(tmp_path / "run").sets)
    assert frame[["set", "poles", "model"]].values.tolist() == [["highlighted", 6, "some-model, <b>model</b>\\x1b[31m"]]
