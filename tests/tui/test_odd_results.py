"""Results of another form than expected: a field or column of another type is a fault that is named, not a crash."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tui_pilot import DEMO, async_test, browsing, press, text_of

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.cursor import Place
from neuron_signatures.tui.layout import facts as prose
from neuron_signatures.tui.layout.text import Table, rooms, table_row
from neuron_signatures.tui.opened_run import Session, notes_of
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.tables import small_tables as tables
from neuron_signatures.tui.tables.ranked_list import ListTable, ListView, Order, Walk, list_header, list_record
from neuron_signatures.views.coords import NeuronAt

DLA = "influence_seed_prompt_dla_next_token_pos8_tok704"
STEMS = ("neurons_aggregated", "signatures", DLA)
ODD = (None, 5, "x", [], {}, [1], {"a": 1})
KINDS = {
    "null": lambda n, t: pa.nulls(n), "of its type": lambda n, t: pa.nulls(n, t), "int": lambda n, t: pa.array([5] * n),
    "text": lambda n, t: pa.array(["x"] * n), "float": lambda n, t: pa.array([1.5] * n),
    "huge": lambda n, t: pa.array([2**62] * n), "negative": lambda n, t: pa.array([-3] * n),
    "list": lambda n, t: pa.array([[1]] * n), "bytes": lambda n, t: pa.array([b"\xff"] * n),
    "struct": lambda n, t: pa.array([{"a": 1}] * n),
}  # fmt: skip


def draw(table: Table) -> None:
    """What both the screen and `--print json` make of the first rows."""
    room = rooms(table.columns(), 150)
    for i in range(min(3, len(table))):
        table_row(table, i, room, cursor=False)
        json.dumps(strict(table.record(i)), allow_nan=False)


def show_lists(run_dir: Path, stem: str) -> str:
    """Draw the list in every order; the fault, if it cannot be read."""
    session = Session.open(run_dir)
    refs = session.refs()
    draw(tables.RefTable(refs, ""))
    ref = next((r for r in refs if r.stem == stem), None)
    if ref is None:
        return "gone"
    try:
        view = ListView.of(session.ranked(ref))
    except ProjectError as e:
        return e.line()
    list_header(view, 80)
    json.dumps(strict(list_record(view)), allow_nan=False)
    for key in (None, "score", "neuron", "token", "note"):
        draw(ListTable(view.arranged(Order(key)), session.run))
    view.arranged(Order(query="L3N508+ a >0.5"))
    Walk(view, 0).label(Place(0, *Walk(view, 0).row().at, 0))
    return ""


def show_notes(run_dir: Path, at: NeuronAt) -> str:
    notes = notes_of(Run.open(run_dir), at)
    prose.laid_out(prose.notes_facts(at, notes, ()), 80)
    json.dumps(strict(prose.notes_record(notes, ())), allow_nan=False)
    return " ".join(notes.missing)


def copied(tmp_path: Path) -> Path:
    """The demo run with few rows in its tables."""
    shutil.copytree(DEMO, tmp_path / "run")
    for stem in STEMS:
        path = tmp_path / "run" / "analysis" / f"{stem}.parquet"
        pq.write_table(pq.read_table(path).slice(0, 5), path)
    return tmp_path / "run"


def paths(value, path=()):
    """Every place of a JSON value; of lists the first two items."""
    yield path
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    for k, v in inner:
        yield from paths(v, (*path, k))


def put(record, path, value):
    if not path:
        return value
    record = copy.deepcopy(record)
    at = record
    for k in path[:-1]:
        at = at[k]
    at[path[-1]] = value
    return record


@pytest.mark.parametrize("stem", STEMS)
def test_a_column_of_another_type_is_shown_or_named(tmp_path, stem):
    run_dir = copied(tmp_path)
    path = run_dir / "analysis" / f"{stem}.parquet"
    table = pq.read_table(path)
    at = NeuronAt(table["layer"][0].as_py(), table["neuron"][0].as_py())
    for i, name in enumerate(table.column_names):
        for make in KINDS.values():
            pq.write_table(table.set_column(i, name, make(len(table), table.schema.field(name).type)), path)
            show_lists(run_dir, stem)
            show_notes(run_dir, at)
    pq.write_table(table.set_column(table.column_names.index("layer"), "layer", pa.array(["x"] * len(table))), path)
    assert "column layer" in show_lists(run_dir, stem)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("analysis_meta.json", STEMS[0]), ("signatures_meta.json", STEMS[1]), (f"{DLA}_meta.json", DLA)],
)
def test_a_field_of_a_record_of_another_type_is_shown_or_named(tmp_path, name, stem):
    run_dir = copied(tmp_path)
    path = run_dir / "analysis" / name
    record = json.loads(path.read_text())
    record = {k: v for k, v in record.items() if not k.startswith(("versions", "flags"))}
    answers = set()
    for place in paths(record):
        for odd in ODD:
            path.write_text(json.dumps(put(record, place, odd)))
            answers.add(show_lists(run_dir, stem))
    assert "" in answers and len(answers) > 1  # some were shown, of others the fault was named


def test_write_scores_of_another_form_are_shown_or_named(tmp_path):
    run_dir = copied(tmp_path)
    path = run_dir / "analysis" / f"{DLA}_write_scores.json"
    record = json.loads(path.read_text())
    record["neurons"] = record["neurons"][:1]
    at = NeuronAt(record["neurons"][0]["layer"], record["neurons"][0]["neuron"])
    for place in paths(record):
        for odd in ODD:
            path.write_text(json.dumps(put(record, place, odd)))
            show_notes(run_dir, at)
    path.write_text(json.dumps(put(record, ("neurons", 0, "promotes", 0, "score"), "x")))
    assert "another form than expected" in show_notes(run_dir, at)


@async_test
async def test_a_list_with_texts_for_numbers_is_named_in_the_browser(tmp_path):
    run_dir = copied(tmp_path)
    path = run_dir / "analysis" / "neurons_aggregated.parquet"
    table = pq.read_table(path)
    i = table.column_names.index("max_act")
    pq.write_table(table.set_column(i, "max_act", pa.array(["x"] * len(table))), path)
    async with browsing(Options(run_dir=run_dir, screen="peaks"), (120, 30)) as pilot:
        assert "column max_act" in text_of(pilot)
        assert "this prompt" in await press(pilot, "escape")
