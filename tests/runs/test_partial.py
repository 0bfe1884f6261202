"""Files with the finished part of a long computation: what is stored comes back, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.runs import partial as module
from neuron_signatures.runs.errors import StopSignal, UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ResultsWriter, partial_name

NAME = partial_name("x")
ARRAYS = {"effects": np.array([1.5, np.nan, -0.0], np.float32), "done": np.array([True, False, True])}


@pytest.fixture
def writer(tmp_path):
    writer = ResultsWriter(tmp_path)
    writer.folder.mkdir()
    return writer


def partial(writer, **settings) -> Partial:
    return Partial(writer, NAME, {"seed": 1, "positions": (3, 4), **settings})


def test_arrays_come_back_bit_for_bit_with_the_same_settings(writer):
    assert partial(writer).load(max_bytes=1000) == {}
    partial(writer).save_now(ARRAYS)
    found = partial(writer).load(max_bytes=1000)
    assert {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in ARRAYS.items()}
    assert {n: (a.dtype, a.shape) for n, a in found.items()} == {n: (a.dtype, a.shape) for n, a in ARRAYS.items()}
    with pytest.raises(UsageError, match="seed was 1, is 2"):
        partial(writer, seed=2).load(max_bytes=1000)
    partial(writer).remove()
    assert partial(writer).load(max_bytes=1000) == {} and not list(writer.folder.iterdir())


def test_a_damaged_file_is_ignored_with_a_warning(writer, caplog):
    partial(writer).save_now(ARRAYS)
    path = writer.folder / NAME
    intact = path.read_bytes()
    damaged = [intact[:n] for n in range(0, len(intact), 40)] + [b"PK\3\4", b"x" * 500]
    damaged += [intact[:at] + bytes([intact[at] ^ 0xFF]) + intact[at + 1 :] for at in range(len(intact))]
    for raw in damaged:
        path.write_bytes(raw)
        caplog.clear()
        try:
            found = partial(writer).load(max_bytes=1000, like=ARRAYS)
        except UsageError as e:  # a changed letter of the settings
            assert "cannot resume" in e.what
            continue
        same = {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in ARRAYS.items()}
        assert same or (found == {} and f"{NAME} is damaged; starting again" in caplog.text)


def test_pickled_objects_are_not_read(writer, caplog):
    with (writer.folder / NAME).open("wb") as f:
        np.savez(f, settings=np.array('{"seed": 1, "positions": [3, 4]}'), x=np.array([{}], object))
    assert partial(writer).load(max_bytes=1000) == {} and "damaged" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"effects": ARRAYS["effects"]},
        {**ARRAYS, "more": np.zeros(1)},
        {**ARRAYS, "effects": np.zeros(4, np.float32)},
        {**ARRAYS, "effects": np.zeros(3)},
    ],
)
def test_other_arrays_than_expected_are_ignored(writer, caplog, other):
    partial(writer).save_now(other)
    assert partial(writer).load(max_bytes=1000, like=ARRAYS) == {}
    assert "damaged" in caplog.text


def test_more_bytes_than_allowed_are_not_read(writer, monkeypatch):
    monkeypatch.setattr(module, "_SETTINGS_BYTES", 1000)
    partial(writer).save_now({"x": np.zeros(1000)})
    assert partial(writer).load(max_bytes=7000) == {}
    assert len(partial(writer).load(max_bytes=8000)["x"]) == 1000


@pytest.mark.parametrize("name", ["settings", "file", "allow_pickle", "a/b", "../a", "a.b", "", "1a", "é"])
def test_names_are_safe(writer, name):
    with pytest.raises(AssertionError):
        partial(writer).save_now({name: np.zeros(1)})


def test_arrays_are_written_at_most_every_20_seconds_and_when_the_work_is_stopped(writer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    p = partial(writer)
    for now[0], value, stored in ((119.0, 1, None), (120.0, 2, 2), (139.0, 3, 2), (140.5, 4, 4)):
        p.save({"x": np.array(value)})
        found = partial(writer).load(max_bytes=1000)
        assert found.get("x") == stored
    with pytest.raises(StopSignal), p.save_on_error(lambda: {"x": np.array(5)}):
        raise StopSignal
    assert partial(writer).load(max_bytes=1000)["x"] == 5
    with pytest.raises(StopSignal), p.save_on_error(dict):  # nothing is done: the file stays
        raise StopSignal
    with p.save_on_error(lambda: {"x": np.array(6)}):
        pass
    assert partial(writer).load(max_bytes=1000)["x"] == 5


def test_a_stored_part_is_not_a_file_of_the_next_result(writer):
    partial(writer).save_now(ARRAYS)
    writer.begin("x_meta.json")
    writer.json("x.json", {})
    partial(writer).save_now(ARRAYS)
    writer.record("x_meta.json", {})
    assert NAME not in (writer.folder / "x_meta.json").read_text()
