"""Damaged results: a field or a column of another type is reported by name and does not end the browser."""

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
from neuron_signatures.tui.layout.facts import fact_lines, more_facts, notes_record, write_facts
from neuron_signatures.tui.layout.text import Table, column_widths, table_row
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun, notes_of
from neuron_signatures.tui.tables.listings import RefTable
from neuron_signatures.tui.tables.ranked_list import ListTable, ListView, Order, Walk, list_header, list_record
from neuron_signatures.views.coords import NeuronAt

DLA = "influence_seed_prompt_dla_next_token_pos8_tok704"
STEMS = ("neurons_aggregated", "signatures", DLA)
STEM_OF = {"analysis_meta.json": STEMS[0], "signatures_meta.json": STEMS[1], f"{DLA}_meta.json": DLA}
WRONG_VALUES = (None, 5, "x", [], {}, [1], {"a": 1})
# Per record, fields with a wrong value.
MUTATIONS = {
    "analysis_meta.json": {
        "stage": 5, "created_at_utc": None, "run": [], "run.layers.0": "x", "settings": {}, "settings.include_bos": 5,
        "n_prompts": -1, "bos_rule": None, "warnings": [1],
    },
    "signatures_meta.json": {"class_counts": {}, "class_counts.say_x": "x", "null": []},
    f"{DLA}_meta.json": {
        "metric": 5, "prompt_id": None, "target": 5, "target.pos": "x", "target.token": None, "target.token.rank": {},
        "target.foil": 5, "selected_share": "x",
    },
}  # fmt: skip
TYPES = {
    "null": lambda n, t: pa.nulls(n), "of its type": lambda n, t: pa.nulls(n, t), "int": lambda n, t: pa.array([5] * n),
    "text": lambda n, t: pa.array(["x"] * n), "float": lambda n, t: pa.array([1.5] * n),
    "huge": lambda n, t: pa.array([2**62] * n), "negative": lambda n, t: pa.array([-3] * n),
    "list": lambda n, t: pa.array([[1]] * n), "bytes": lambda n, t: pa.array([b"\xff"] * n),
    "struct": lambda n, t: pa.array([{"a": 1}] * n),
}  # fmt: skip


def draw(table: Table) -> None:
    """Render the first rows for the screen and for `--print json`."""
    widths = column_widths(table.columns(), 150)
    for i in range(min(3, len(table))):
        table_row(table, i, widths, cursor=False)
        json.dumps(strict(table.record(i)), allow_nan=False)


def show_lists(run_dir: Path, stem: str) -> str:
    """Draw the list in every order; the error message, if it cannot be read."""
    opened = OpenedRun.open(run_dir)
    refs = opened.refs()
    draw(RefTable(refs, ""))
    ref = next((r for r in refs if r.stem == stem), None)
    if ref is None:
        return "gone"
    try:
        view = ListView.of(opened.ranked(ref))
    except ProjectError as e:
        return e.line()
    list_header(view, 80)
    json.dumps(strict(list_record(view)), allow_nan=False)
    for key in (None, "score", "neuron", "token", "note"):
        draw(ListTable(view.arranged(Order(key)), opened.run))
    view.arranged(Order(query="L3N508+ a >0.5"))
    Walk(view, 0).label(Cursor(0, *Walk(view, 0).row().at, 0))
    return ""


def show_notes(run_dir: Path, at: NeuronAt) -> str:
    notes = notes_of(Run.open(run_dir), at)
    fact_lines([*write_facts(notes, 1.0, sources=True), *more_facts(notes, ())], 80)
    json.dumps(strict(notes_record(notes, ())), allow_nan=False)
    return " ".join(notes.missing)


def copied(tmp_path: Path) -> Path:
    """The demo run with few rows in its tables."""
    shutil.copytree(DEMO, tmp_path / "run")
    for stem in STEMS:
        path = tmp_path / "run" / "analysis" / f"{stem}.parquet"
        pq.write_table(pq.read_table(path).slice(0, 5), path)
    return tmp_path / "run"


def paths(value, path=()):
    """The path of every value in a JSON value; of lists the first two items."""
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


def with_column(table: pa.Table, name: str, kind: str) -> pa.Table:
    column = TYPES[kind](len(table), table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), name, column)


def show_with_columns(run_dir: Path, stem: str, names: list[str], kinds: list[str]) -> list[str]:
    """What the lists say with each column in each type; nothing raises."""
    path = run_dir / "analysis" / f"{stem}.parquet"
    table = pq.read_table(path)
    at = NeuronAt(table["layer"][0].as_py(), table["neuron"][0].as_py())
    answers = []
    for name in names or table.column_names:
        for kind in kinds:
            pq.write_table(with_column(table, name, kind), path)
            answers.append(show_lists(run_dir, stem))
            show_notes(run_dir, at)
    return answers


@pytest.mark.parametrize(("stem", "name"), list(zip(STEMS, ("max_act", "n_texts", "layer"), strict=True)))
def test_a_column_of_another_type_is_named(tmp_path, stem, name):
    answers = show_with_columns(copied(tmp_path), stem, [name], ["text", "list", "struct"])
    assert all(f"{stem}.parquet: column {name}: has type" in answer for answer in answers)


@pytest.mark.fuzz
@pytest.mark.parametrize("stem", STEMS)
def test_every_column_in_every_type_is_shown_or_named(tmp_path, stem):
    answers = show_with_columns(copied(tmp_path), stem, [], list(TYPES))
    assert "" in answers and any("column layer" in answer for answer in answers)


@pytest.mark.parametrize(
    ("name", "field", "value"), [(name, *change) for name, changes in MUTATIONS.items() for change in changes.items()]
)
def test_a_field_of_another_type_is_named(tmp_path, name, field, value):
    run_dir = copied(tmp_path)
    file = run_dir / "analysis" / name
    path = [int(key) if key.isdigit() else key for key in field.split(".")]
    file.write_text(json.dumps(put(json.loads(file.read_text()), path, value)))
    assert f"{name}: field {field}" in show_lists(run_dir, STEM_OF[name])


@pytest.mark.fuzz
@pytest.mark.parametrize("name", [*STEM_OF, f"{DLA}_write_scores.json"])
def test_every_field_in_every_type_is_shown_or_named(tmp_path, name):
    run_dir = copied(tmp_path)
    file = run_dir / "analysis" / name
    record = json.loads(file.read_text())
    at = NeuronAt(4, 178)
    if "neurons" in record:
        record["neurons"] = [n for n in record["neurons"] if (n["layer"], n["neuron"]) == at]
    answers = set()
    for path in paths(record):
        for value in WRONG_VALUES:
            file.write_text(json.dumps(put(record, path, value)))
            answers.add(show_lists(run_dir, STEM_OF[name]) if name in STEM_OF else show_notes(run_dir, at))
    assert len(answers) > 1


def test_damaged_write_scores_are_named(tmp_path):
    run_dir = copied(tmp_path)
    file = run_dir / "analysis" / f"{DLA}_write_scores.json"
    record = put(json.loads(file.read_text()), ("neurons", 0, "promotes", 0, "score"), "x")
    file.write_text(json.dumps(record))
    at = NeuronAt(record["neurons"][0]["layer"], record["neurons"][0]["neuron"])
    assert "field neurons.0.promotes.0.score: Input should be a valid number" in show_notes(run_dir, at)


@async_test
async def test_the_browser_names_a_column_of_another_type(tmp_path):
    run_dir = copied(tmp_path)
    path = run_dir / "analysis" / "neurons_aggregated.parquet"
    table = pq.read_table(path)
    i = table.column_names.index("max_act")
    pq.write_table(table.set_column(i, "max_act", pa.array(["x"] * len(table))), path)
    async with browsing(Options(run_dir=run_dir, screen="peaks"), (120, 30)) as pilot:
        assert "column max_act" in text_of(pilot)
        assert "this prompt" in await press(pilot, "escape")
