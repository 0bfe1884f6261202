"""Names of any length and number, and names with control characters, in the results of a run."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explorer import demo_root, open_page, shown

from neuron_signatures.dashboard.pages.signatures import MOST_CLASSES, MOST_GROUPS
from neuron_signatures.dashboard.ranking.table import rank_frame
from neuron_signatures.runs.tokens import MAX_SHOWN
from neuron_signatures.views.lists.list_files import list_refs, read_list

INFLUENCE = "influence_seed_prompt_dla_next_token_pos8_tok704"
LONG = 20_000


@pytest.fixture
def demo(tmp_path):
    return demo_root(tmp_path)


def frames_of(page):
    return [e.value for e in page.dataframe]


def test_control_characters_of_a_record_never_reach_a_table_header(demo, monkeypatch):
    path = demo / "demo" / "analysis" / f"{INFLUENCE}_meta.json"
    record = json.loads(path.read_text())
    record["target"]["function"] = "\x1b]0;title\x07\u202elogit"
    path.write_text(json.dumps(record))
    ref = next(r for r in list_refs(demo / "demo") if r.stem == INFLUENCE)
    frame = rank_frame(read_list(demo / "demo", ref), [0, 1])
    assert r"influence (\x1b]0;title\x07\u202elogit)" in frame.columns
    page = open_page(demo, monkeypatch, view="ranking", list=INFLUENCE)
    assert not page.exception
    headers = [str(c) for f in frames_of(page) for c in f.columns]
    assert headers and all(h.isprintable() for h in headers)


def long_names(demo, n: int) -> None:
    """As many groups and classes with long names, each with one pole of the demo run's table."""
    analysis = demo / "demo" / "analysis"
    table = pq.read_table(analysis / "signatures.parquet").slice(0, n)
    names = [f"{i:n>{LONG}}" for i in range(n)]
    for column, values in (("name", names), ("class", [f"c{i:c>{LONG}}" for i in range(n)])):
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table, analysis / "signatures.parquet")
    poles = zip(*(table.column(c).to_pylist() for c in ("layer", "neuron", "pole")), strict=True)
    groups = [
        {"name": name, "class": "semantic", "members": [f"L{layer}N{neuron}{pole}"]}
        for name, (layer, neuron, pole) in zip(names, poles, strict=True)
    ]
    (analysis / "groups.json").write_text(json.dumps({"groups": groups}))
    record = json.loads((analysis / "signatures_meta.json").read_text())
    record["class_counts"] |= {f"{i:c>{LONG}}": 1 for i in range(n)}
    (analysis / "signatures_meta.json").write_text(json.dumps(record))


@pytest.mark.parametrize("view", ["signatures", "query", "ranking", "neuron", "map"])
def test_long_names_are_shortened_and_lists_are_limited_with_a_note(demo, monkeypatch, view):
    n = MOST_GROUPS + 200
    long_names(demo, n)
    at = {"layer": "0", "neuron": "0"} if view == "neuron" else {}
    page = open_page(demo, monkeypatch, view=view, list="signatures", **at)
    if view == "query":
        page.session_state["ui_query_set"] = "group"
        page.run()
    assert not page.exception
    if view in ("signatures", "query"):
        assert f"The {MOST_GROUPS} largest of {n} groups." in shown(page)
    if view == "signatures":
        assert f"The first {MOST_CLASSES} of " in shown(page)
    options = [o for box in (*page.selectbox, *page.multiselect) for o in box.options]
    cells = [str(v) for f in frames_of(page) for c in f.columns for v in f[c]]
    assert max(map(len, [*options, *cells, ""])) < 3 * MAX_SHOWN
    figures = [json.dumps(str(e.proto)) for e in page.get("plotly_chart")]
    assert sum(map(len, figures)) < 30_000_000 and not any("n" * 1000 in f or "c" * 1000 in f for f in figures)
    assert not any("n" * 1000 in text or "c" * 1000 in text for text in shown(page).splitlines())
