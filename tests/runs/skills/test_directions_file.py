"""The directions file: what is written is read, and every fault is one line that names file and tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from direction_files import MADE, directions_file, random_rows
from safetensors.numpy import load_file, save_file

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.directions import (
    DirectionsFile,
    Made,
    choose_site,
    copy_directions,
    write_directions,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows, bias = random_rows(5, 8), np.arange(5, dtype=np.float32)
    made = Made("pca", "demo", None, "abc", 3, 20_000)
    arrays = {"pca.res.2": rows, "pca.res.2.bias": bias, "pca.res.0": rows.astype(np.float16), "ica.att.1": rows[:2]}
    write_directions(tmp_path / "a.safetensors", arrays, made)
    with DirectionsFile(tmp_path / "a.safetensors") as file:
        assert file.made == made
        assert file.banks == [Bank("ica", "att", 1, 2), Bank("pca", "res", 0, 5), Bank("pca", "res", 2, 5)]
        found = file.arrays(file.banks[2])
        assert np.array_equal(found.rows, rows) and found.rows.dtype == np.float32
        assert found.bias is not None and np.array_equal(found.bias, bias) and found.threshold is None
        np.testing.assert_allclose(file.arrays(file.banks[1]).rows, rows, atol=1e-3)
        assert file.arrays(file.banks[0]).bias is None and file.width(file.banks[0]) == 8


def test_files_of_the_safetensors_library_are_read_and_ours_by_it(tmp_path: Path) -> None:
    rows = random_rows(3, 4)
    save_file({"mine.mlp.0": rows}, tmp_path / "a.safetensors", {"format_version": "1", "made_by": "other"})
    with DirectionsFile(tmp_path / "a.safetensors") as file:
        assert file.made == Made("other") and np.array_equal(file.arrays(file.banks[0]).rows, rows)
    assert list(load_file(directions_file(tmp_path / "b.safetensors", width=4))) == ["random.res.0", "random.res.1"]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"random.res.1": random_rows(4, 8)}, "random.res.1: has 4 directions, but random.res.0 has 6"),
        ({"random.res.1": random_rows(6, 9)}, "random.res.1: has width 9, but random.res.0 has 8"),
        ({"random.head.1": random_rows(6, 8)}, "random.head.1: 'head' is not a site: res, att, mlp, neuron are"),
        ({"sae.res.1": random_rows(6, 8)}, "the name sae is that of other units. Use another, such as sae_dec"),
        ({"random.res": random_rows(6, 8)}, "random.res: is not named <source>.<site>.<layer>"),
        ({"random.res.01": random_rows(6, 8)}, "random.res.01: is not named"),
        ({"random.res.1": random_rows(6, 8).astype(np.float64)}, "has dtype float64, not float32 or float16"),
        ({"random.res.1": np.ones(6, np.float32)}, r"has shape \[6\], not \[n_directions, width\]"),
        ({"random.res.0.bias": np.ones(5, np.float32)}, r"has shape \[5\], but random.res.0 has 6 directions"),
        ({"random.res.7.bias": np.ones(6, np.float32)}, "random.res.7.bias: there is no random.res.7"),
    ],
)
def test_faults_that_the_header_shows(more: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = directions_file(tmp_path / "a.safetensors", width=8, layers=[0], more=more)
    with pytest.raises(UsageError, match=fault) as found:
        DirectionsFile(path)
    assert "a.safetensors" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(("value", "fault"), [(np.nan, "direction 4 is not finite"), (0.0, "direction 4 is zero")])
def test_bad_directions_are_refused_when_they_are_read(value: float, fault: str, tmp_path: Path) -> None:
    rows = random_rows(6, 8)
    rows[4] = value
    path = directions_file(tmp_path / "a.safetensors", width=8, layers=[0], more={"random.res.1": rows})
    with DirectionsFile(path) as file:
        file.arrays(file.banks[0])
        with pytest.raises(UsageError, match=rf"random\.res\.1: {fault}"):
            file.arrays(file.banks[1])
        with pytest.raises(UsageError, match=fault), (tmp_path / "copy").open("wb") as out:
            copy_directions(path, out, choose_site(file, None, None))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello, this is not a tensor file")
    whole = directions_file(tmp_path / "b", width=8).read_bytes()
    (tmp_path / "b").write_bytes(whole[:-10])
    save_file({"pca.res.0": random_rows(2, 4)}, tmp_path / "c")
    save_file({"pca.res.0": random_rows(2, 4)}, tmp_path / "d", {"format_version": "2", "made_by": "pca"})
    save_file({"pca.res.0": random_rows(2, 4)}, tmp_path / "e", {"format_version": "1", "made_by": "me"})
    write_directions(tmp_path / "f", {}, MADE)
    faults = {
        "a": "not a whole safetensors file", "b": "not a whole safetensors file", "c": "no format_version",
        "d": "format_version is '2', this reader knows 1", "e": "made_by is 'me', not one of random",
        "f": "holds no directions", "g": "missing|no such file",
    }  # fmt: skip
    for name, fault in faults.items():
        with pytest.raises(UsageError, match=fault):
            DirectionsFile(tmp_path / name)


def test_a_file_is_checked_against_the_model(tmp_path: Path) -> None:
    path = directions_file(tmp_path / "a", width=8, layers=[0, 3])
    with DirectionsFile(path) as file:
        file.check({"res": 8}, 4)
        with pytest.raises(UsageError, match=r"random\.res\.3: there is no layer 3: the model has 0\.\.2"):
            file.check({"res": 8}, 3)
        with pytest.raises(UsageError, match="has width 8, but res of the model has 16"):
            file.check({"res": 16}, 4)


def test_one_set_of_directions_is_chosen_and_copied(tmp_path: Path) -> None:
    more = {"pca.res.1": random_rows(3, 8), "pca.res.1.bias": np.ones(3, np.float32), "pca.mlp.0": random_rows(2, 8)}
    path = directions_file(tmp_path / "a", width=8, more=more)
    with DirectionsFile(path) as file:
        chosen = choose_site(file, "res", "pca")
        assert (chosen.layers, chosen.n_units, chosen.width) == ((1,), 3, 8)
        assert choose_site(file, "mlp", None).source == "pca"
        with pytest.raises(UsageError, match="holds several sets of directions: pca at mlp, pca at res, random at res"):
            choose_site(file, None, None)
        with pytest.raises(UsageError, match="Choose one with --site and --source"):
            choose_site(file, "att", None)
        with (tmp_path / "copy").open("wb") as out:
            _, n_bytes = copy_directions(path, out, chosen)
        assert n_bytes == (tmp_path / "copy").stat().st_size
        with DirectionsFile(tmp_path / "copy") as copy:
            assert copy.banks == [Bank("pca", "res", 1, 3)] and copy.made == file.made
            for found, want in zip(copy.arrays(copy.banks[0]), file.arrays(copy.banks[0]), strict=True):
                assert np.array_equal(found, want) if want is not None else found is None
