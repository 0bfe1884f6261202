"""Files that a user names: anything but a regular file of a bounded size is refused at once."""

from __future__ import annotations

import os

import pytest

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input, read_text_input


def refusal(path, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        read_text_input(path, max_bytes=1000, **kwargs)
    return caught.value.line()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert refusal(path).startswith(f"{path}: not a regular file. Give a file; save the output")
    (tmp_path / "link").symlink_to("/dev/zero")
    assert "not a regular file" in refusal(tmp_path / "link")


def test_large_missing_and_binary_files_are_refused(tmp_path):
    with (tmp_path / "large").open("wb") as f:
        f.truncate(1 << 40)
    assert refusal(tmp_path / "large").endswith("large: larger than 1000 bytes. Split it")
    assert refusal(tmp_path / "absent", next_step="Write one") == f"{tmp_path}/absent: there is no such file. Write one"
    (tmp_path / "binary").write_bytes(b"ab\xff")
    assert "UTF-8 text (invalid start byte at byte 2)" in refusal(tmp_path / "binary")


def test_json_is_read_within_bounds(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1, 2]}', encoding="utf-8")
    assert read_json_input(path) == {"a": [1, 2]}
    for text, reason in (
        ("[" * 100_000, "nested deeper"),
        ("9" * 20, "an integer of 20 digits"),
        ('{"a": 1, "a": 2}', "key 'a' appears twice"),
        ("{", "not valid JSON"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=reason):
            read_json_input(path)


def test_a_repeated_key_is_found_in_linear_time(tmp_path):
    keys = [f'"{i}": 0' for i in range(200_000)]
    (tmp_path / "a.json").write_text("{" + ",".join([*keys, keys[-1]]) + "}")
    with pytest.raises(UsageError, match="key '199999' appears twice"):
        read_json_input(tmp_path / "a.json")
