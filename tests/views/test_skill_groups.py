"""Which rows of the tables of skills are shown, by hand-made tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from run_folders import write_run
from skill_tables import CLASSES, all_modes, collected, compared, frame_of, similarities, specific

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.skills.columns import SIMILARITIES
from neuron_signatures.runs.skills.names import SEPARATION, SKILLS, SPECIFIC
from neuron_signatures.runs.skills.tables import (
    finished_modes,
    outdated,
    read_most_specific,
    read_record,
    read_skill_table,
)
from neuron_signatures.views.skills.groups import Group, Kind, groups_of, kinds_of, rows_of, square


@pytest.fixture
def run_dir(tmp_path):
    write_run(tmp_path / "run")
    return tmp_path / "run"


def table() -> pd.DataFrame:
    return frame_of(similarities(), list(SIMILARITIES))


def test_groups_begin_with_all_sites_of_autoencoders():
    assert [g.label for g in groups_of(table())] == [
        "sae all sites, all layers",
        "neurons, all layers",
        "sae res, layer 0",
    ]


def test_kinds_begin_with_the_background_left_out():
    assert [k.background for k in kinds_of(table())] == ["left_out", "kept"]


def test_rows_of_a_group_and_kind():
    rows = rows_of(table(), Group("sae", "res", 0), Kind("cosine", "mean", "kept"))
    assert len(rows) == 2 and set(rows["level"]) == {"between", "within"}


def test_a_square_has_the_values_on_both_sides_and_halves_on_the_diagonal():
    rows = rows_of(table(), Group("sae", "", None), Kind("cosine", "mean", "kept"))
    found = square(rows, "between")
    assert found.names == sorted(CLASSES) and found.same == [True, True]
    assert np.array_equal(found.values, [[0.95, 0.25], [0.25, 0.95]])
    within = square(rows, "within", CLASSES[0])
    assert within.names == ["s0", "s1"] and square(rows, "within", CLASSES[1]).names == []


def test_an_undefined_value_stays_undefined():
    rows = rows_of(table(), Group("sae", "", None), Kind("cosine", "mean", "kept")).assign(
        value=np.nan, halves_mean=np.nan
    )
    found = square(rows, "between")
    assert np.isnan(found.values).all() and found.same == [False, False]


def test_only_the_most_specific_units_are_read(run_dir):
    collected(run_dir)
    compared(run_dir)
    found = read_most_specific(run_dir, 2)
    assert len(found) == 2 * 2 * 2 and found["rank"].tolist() == [1, 2] * 4
    assert len(read_most_specific(run_dir, 100)) == len(specific())


def test_results_of_other_texts_are_outdated(run_dir):
    all_modes(run_dir)
    assert finished_modes(run_dir) == ("collect", "compare", "explain", "classify", "steer")
    assert not outdated(run_dir, read_record(run_dir, "compare"))
    path = run_dir / SKILLS / "collect_meta.json"
    path.unlink()
    collected(run_dir)
    assert not outdated(run_dir, read_record(run_dir, "compare"))  # the same texts at the same time
    with pytest.raises(UsageError, match="--mode collect"):
        path.unlink()
        outdated(run_dir, read_record(run_dir, "compare"))


def test_a_table_without_a_record_is_not_there(run_dir):
    collected(run_dir)
    with pytest.raises(UsageError, match="--mode compare"):
        read_skill_table(run_dir, SEPARATION)
    with pytest.raises(UsageError, match="--mode compare"):
        read_most_specific(run_dir, 3)


def test_a_table_without_a_column_is_damaged(run_dir):
    collected(run_dir)
    compared(run_dir)
    for stem in (SEPARATION, SPECIFIC):
        path = run_dir / SKILLS / table_name(stem)
        pd.read_parquet(path).drop(columns="p").to_parquet(path)
    with pytest.raises(BadRunError, match="no column p"):
        read_skill_table(run_dir, SEPARATION)
    with pytest.raises(BadRunError, match="no column p"):
        read_most_specific(run_dir, 3)
