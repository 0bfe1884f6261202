"""Activation files from strangers: nothing is allocated that the file and the manifest do not need."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import TESTS
from run_folders import D_MLP, N_LAYERS, acts_of, write_run, write_v1

from neuron_signatures.runs import tensors
from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.run import MAX_OPEN, Run
from neuron_signatures.runs.tensors import zip_fault

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
PEAK = """
import sys
from pathlib import Path
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.run import Run
def peak_kb():  # not ru_maxrss: a child inherits the peak of its parent
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
run = Run.open(sys.argv[1])
before = peak_kb()
try:
    run.acts(0)
except BadRunError as e:
    print(peak_kb() - before, e)
"""


def refused_in(run_dir: Path) -> tuple[int, str]:
    """The growth of the peak memory, in kB, of a process that refuses to read the run, and the error."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(run_dir)], capture_output=True, text=True, check=True)
    grown, _, line = done.stdout.strip().partition(" ")
    assert done.stderr == ""
    return int(grown), line


def safetensors_run(tmp_path: Path, raw: bytes, n: int | None = None) -> Path:
    run_dir = write_v1(tmp_path / "run", activations_file="activations.safetensors")
    (run_dir / "activations.safetensors").write_bytes(struct.pack("<Q", len(raw) if n is None else n) + raw)
    return run_dir


def pt_run(tmp_path: Path, tensors: object) -> Path:
    run_dir = write_v1(tmp_path / "run")
    torch.save(tensors, run_dir / "activations.pt")
    return run_dir


def pickled_run(tmp_path: Path, pickled: bytes, **members: bytes) -> Path:
    """A run whose `.pt` file has this pickle."""
    run_dir = write_v1(tmp_path / "run")
    with zipfile.ZipFile(run_dir / "activations.pt", "w") as archive:
        for name, raw in {"data.pkl": pickled, **members}.items():
            archive.writestr(f"archive/{name}", raw)
    return run_dir


def refuses(run_dir: Path, needle: str) -> None:
    with pytest.raises(BadRunError, match=needle) as e:
        Run.open(run_dir).acts(0)
    assert len(e.value.line()) <= 380 and "\n" not in e.value.line()


@pytest.mark.parametrize(
    ("header", "needle"),
    [
        ({"first": {"dtype": "BF16", "shape": [10**18] * 1000, "data_offsets": [0, 0]}}, "invalid dtype, shape"),
        ({"first": {"dtype": "BF16", "shape": [1 << 63], "data_offsets": [0, 0]}}, "invalid dtype, shape"),
        ({"first": {"dtype": "BF16", "shape": [-1, 2, 3], "data_offsets": [0, 0]}}, "invalid dtype, shape"),
        ({"first": {"dtype": ["BF16"], "shape": [1], "data_offsets": [0, 2]}}, "invalid dtype, shape"),
        ({"first": {"dtype": "BF16", "shape": {"1": 2}, "data_offsets": [0, 2]}}, "invalid dtype, shape"),
        ({"first": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2, 3]}}, "invalid dtype, shape"),
    ],
)
def test_shapes_are_bounded_before_they_are_multiplied(tmp_path, header, needle):
    refuses(safetensors_run(tmp_path, json.dumps(header).encode()), needle)


def test_a_shape_of_a_thousand_integers_of_4000_digits_is_refused_unparsed(tmp_path):
    shape = ",".join(["9" * 4000] * 1000)
    header = f'{{"first":{{"dtype":"BF16","shape":[{shape}],"data_offsets":[0,0]}}}}'.encode()
    refuses(safetensors_run(tmp_path, header), "20 digits")


def test_a_header_of_deep_nesting_is_refused(tmp_path):
    refuses(safetensors_run(tmp_path, b"[" * 100_000), "nested deeper")


@NEEDS_PROC
@pytest.mark.parametrize("n_bytes", [250_000_000, 90_000_000])
def test_a_file_that_is_all_header_is_refused_unread(tmp_path, n_bytes):
    run_dir = safetensors_run(tmp_path, b"{", n_bytes)
    os.truncate(run_dir / "activations.safetensors", 8 + n_bytes)
    grown_kb, line = refused_in(run_dir)
    assert f"header is {n_bytes} bytes long, which is too much for 3 prompts" in line
    assert grown_kb < 8_000


def test_a_header_may_be_larger_if_it_lists_more_prompts(tmp_path):
    acts = {f"p{i}" + "x" * 100: torch.full((1, 1, 1), float(i)) for i in range(30_000)}
    from safetensors.torch import save_file

    run_dir = write_v1(tmp_path / "run", acts, "fp32", n_layers=1, d_mlp=1, activations_file="activations.safetensors")
    save_file(acts, run_dir / "activations.safetensors")
    assert (run_dir / "activations.safetensors").stat().st_size > 1 << 22
    # The header is larger than the tensors here, and not below 4 MB.
    refuses(run_dir, "too much for 30000 prompts")
    wide = {k: t.expand(1, 1, 200).contiguous() for k, t in acts.items()}
    run_dir = write_v1(tmp_path / "wide", wide, "fp32", n_layers=1, d_mlp=200, activations_file="a.safetensors")
    save_file(wide, run_dir / "a.safetensors")
    assert Run.open(run_dir).acts(29_999).max() == 29_999


@NEEDS_PROC
def test_a_tensor_that_repeats_its_bytes_is_refused_before_it_is_expanded(tmp_path):
    big = torch.zeros(1, dtype=torch.bfloat16).expand(26, 40_000, 9216)
    run_dir = write_v1(tmp_path / "run", {"first": torch.zeros(1, 1, 1)})
    record = json.loads((run_dir / "manifest.json").read_text())
    n = 40_000
    record["prompts"][0] |= {
        "token_ids": [0] * n, "tokens_ascii": ["x"] * n, "seq_len": n, "activation_tensor_shape": [26, n, 9216]
    }  # fmt: skip
    (run_dir / "manifest.json").write_text(json.dumps(record | {"n_layers": 26, "d_mlp": 9216}))
    torch.save({"first": big}, run_dir / "activations.pt")
    assert (run_dir / "activations.pt").stat().st_size < 3000
    grown_kb, line = refused_in(run_dir)
    assert "but its storage 1 values" in line
    assert grown_kb < 8_000


@pytest.mark.parametrize("view", ["transposed", "sliced", "offset", "one_token", "parameter"])
def test_tensors_that_are_views_are_read(tmp_path, view):
    base = torch.randn(N_LAYERS, 8, D_MLP).bfloat16()
    tensor = {
        "transposed": torch.randn(D_MLP, 4, N_LAYERS).bfloat16().permute(2, 1, 0),
        "sliced": base[:, 2:6],
        "offset": base[:, :, :].reshape(-1)[15:75].view(N_LAYERS, 4, D_MLP),
        "one_token": base[:, :1],
        "parameter": torch.nn.Parameter(base[:, :4].contiguous()),
    }[view]
    run = Run.open(write_v1(tmp_path / "run", {"first": tensor}))
    want = tensor.detach().float().numpy()
    np.testing.assert_array_equal(run.acts("first"), want)
    np.testing.assert_array_equal(run.acts("first", layer=1), want[1])
    np.testing.assert_array_equal(run.acts("first", pos=0), want[:, 0])
    np.testing.assert_array_equal(run.acts("first", layer=2, neuron=3), want[2, :, 3])
    assert torch.equal(run.tensor("first"), tensor)


@pytest.mark.parametrize("order", ["neuron first", "prompts in a batch"])
def test_prompts_that_share_a_storage_are_read_without_the_values_of_others(tmp_path, monkeypatch, order):
    """A whole file can lie between the first and the last value of such a prompt."""
    n = 50
    if order == "neuron first":
        acts = {f"p{i}": t.permute(1, 2, 0) for i, t in enumerate(torch.randn(D_MLP, n, N_LAYERS, 4).unbind(1))}
    else:
        acts = {f"p{i}": t for i, t in enumerate(torch.randn(N_LAYERS, n, 4, D_MLP).unbind(1))}
    run = Run.open(write_v1(tmp_path / "run", acts, "fp32"))
    asked: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: asked.append(n) or pread(fd, n, at))
    monkeypatch.setattr(tensors, "_BLOCK", 64, raising=False)
    np.testing.assert_array_equal(run.acts("p7", layer=1), acts["p7"][1].numpy())
    assert torch.equal(run.tensor("p7"), acts["p7"])
    assert main(["migrate", str(tmp_path / "run")]) == 0
    assert max(asked) <= 64 * 4
    monkeypatch.undo()
    moved = Run.open(tmp_path / "run_v2")
    assert all(torch.equal(moved.tensor(k), t) for k, t in acts.items())


def test_other_values_in_the_dict_are_ignored(tmp_path):
    saved = {**acts_of(), "note": ["text", 1.5, None, True, -(2**70)]}
    run = Run.open(pt_run(tmp_path, saved))
    np.testing.assert_array_equal(run.acts("first"), acts_of()["first"].float().numpy())


@pytest.mark.parametrize(
    ("saved", "needle"),
    [
        (torch.zeros(3), "not a dict"),
        ([torch.zeros(3)], "not a dict"),
        ({1: torch.zeros(3)}, "not a dict of prompt id"),
        ({("a", "b"): torch.zeros(3)}, "not a dict of prompt id"),
        ({"first": torch.zeros(3, 4, 5).to_sparse()}, "something that is not a tensor"),
        ({"first": {1, 2}}, "not a tensor"),
    ],
)
def test_a_pt_file_of_something_else_is_refused(tmp_path, saved, needle):
    refuses(pt_run(tmp_path, saved), needle)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pt_file_of_any_pickle_protocol_is_read(tmp_path, protocol):
    run_dir = write_v1(tmp_path / "run")
    saved = {**acts_of(), "third": torch.nn.Parameter(acts_of()["third"]), "note": ["text", 1.5, None, True, -(2**70)]}
    torch.save(OrderedDict(saved), run_dir / "activations.pt", pickle_protocol=protocol)
    run = Run.open(run_dir)
    for key, tensor in acts_of().items():
        assert torch.equal(run.tensor(key), tensor)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("saved", "needle"),
    [
        ({"first": {1, 2}}, r"something that is not a tensor \((__builtin__.|builtins.)?set\)"),
        ({"first": bytearray(b"x")}, r"not a tensor \((bytes|bytearray)\)"),
        ({"first": Path("x")}, r"not a tensor \(pathlib\.P"),
        ({"first": torch.zeros(3).to_sparse()}, r"not a tensor \(a sparse tensor\)"),
        (torch.nn.Linear(2, 2), r"not a tensor \(torch.nn.modules.linear.Linear\)"),
        ([torch.zeros(3)], "holds a list, not a dict of prompt id"),
        (torch.zeros(3), "holds a tensor, not a dict"),
        ({1: torch.zeros(3)}, "a dict with a key of type int, not a dict"),
    ],
)
def test_a_whole_pt_file_of_something_else_is_refused_with_what_it_holds(tmp_path, saved, needle, protocol):
    run_dir = write_v1(tmp_path / "run")
    torch.save(saved, run_dir / "activations.pt", pickle_protocol=protocol)
    refuses(run_dir, needle)
    (fault,) = Run.open(run_dir).check_file("activations.pt", check="size")
    assert "not a whole" not in fault


@NEEDS_PROC
def test_a_long_name_that_a_pickle_repeats_is_not_repeated_in_memory(tmp_path):
    name = b"X" + struct.pack("<I", 1_000_000) + b"m" * 1_000_000 + b"\x94"
    grown_kb, line = refused_in(pickled_run(tmp_path, b"\x80\x04}" + name + b"h\x00h\x00\x93" * 300 + b"."))
    assert "list of tensors is damaged" in line and grown_kb < 20_000


@pytest.mark.parametrize("command", ["verify", "migrate"])
def test_a_pt_file_without_one_of_its_bytes_is_refused_in_one_line(tmp_path, capsys, command):
    whole = (write_v1(tmp_path / "run") / "activations.pt").read_bytes()
    before = 0
    for at in [*range(0, 40), *range(40, len(whole), 13)]:
        (tmp_path / "run" / "activations.pt").write_bytes(whole[:at] + whole[at + 1 :])
        assert main([command, str(tmp_path / "run")]) == 3
        out, err = capsys.readouterr()
        said = err if command == "migrate" else out.partition("broken")[0]
        assert said.count("\n") == 1 and "activations.pt" in said and len(said) < 400
        before += "is damaged" in said
    assert before


def test_the_header_is_checked_before_a_file_is_hashed(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "run")
    path, record = run_dir / "activations.safetensors", json.loads((run_dir / "manifest.json").read_text())
    record["files"][0]["bytes"] = 30_000_000_000
    (run_dir / "manifest.json").write_text(json.dumps(record))
    os.truncate(path, 30_000_000_000)
    monkeypatch.setattr("neuron_signatures.runs.run.sha256_file", lambda path: pytest.fail(f"{path} was read"))
    assert main(["verify", str(run_dir)]) == 3
    (fault,) = Run.open(run_dir).check_file(path.name, check="sha256")
    assert "its tensors end at byte" in fault and "the file at 30000000000" in fault


def test_a_pt_file_of_another_dtype_is_refused_with_both(tmp_path):
    refuses(pt_run(tmp_path, {"first": torch.zeros(3, 4, 5).double()}), r"DoubleStorage\[3, 4, 5\], the manifest says")


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def shared_tuples(depth: int) -> bytes:
    """A dict whose key is a tuple of two references to a tuple, and so on: hashing it takes 2**depth steps."""
    key = ()
    for _ in range(depth):
        key = (key, key)
    return b"\x80\x02}" + pickle.dumps(key, 2)[2:-1] + b"Ns."


@pytest.mark.parametrize(
    ("pickled", "needle"),
    [
        (pickle.dumps({"first": Call(print, "hi")}, 2), "not a tensor"),
        (pickle.dumps({"first": Call(bytearray, 10**12)}, 2), "not a tensor"),
        (shared_tuples(60), "not a dict of prompt id"),
        (b"\x80\x02" + b"(" * 100_000, "before seeing STOP"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "not a dict"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "no tensor"),
        (b"\x80\x02" + b"L" + b"9" * 100_000 + b"L\n.", "digits|operation"),
        (b"\x80\x04\x96" + struct.pack("<Q", 1 << 60) + b".", "operation|expected|exceed|bytes"),
        (b"\x80\x02}b.", "operation"),
        (b".", "damaged"),
    ],
)
def test_a_hostile_pickle_is_refused(tmp_path, pickled, needle):
    refuses(pickled_run(tmp_path, pickled), needle)


def test_a_pickle_that_is_larger_than_these_prompts_need_is_refused(tmp_path):
    run_dir = pickled_run(tmp_path, b"N0" * (3 << 20))
    refuses(run_dir, "6291456 bytes, too much for 3 prompts")


def test_an_archive_of_more_members_than_these_prompts_need_is_refused(tmp_path):
    run_dir = pickled_run(tmp_path, b"}.", **{f"{i:x>200}": b"" for i in range(20_000)})
    refuses(run_dir, "zip directory is too large")


def test_a_compressed_archive_is_refused_unread(tmp_path):
    run_dir = write_v1(tmp_path / "run")
    with zipfile.ZipFile(run_dir / "activations.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"}" * 10_000_000)
    refuses(run_dir, "compressed")


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    run_dir = write_v1(tmp_path / "run")
    with warnings.catch_warnings(), zipfile.ZipFile(run_dir / "activations.pt", "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data.pkl")), b"}.")
    refuses(run_dir, "there twice")


@pytest.mark.parametrize("kind", ["legacy", "pickle"])
def test_files_of_torch_before_1_6_say_how_to_convert_them(tmp_path, kind, capfd):
    run_dir = write_v1(tmp_path / "run")
    path = run_dir / "activations.pt"
    if kind == "legacy":
        torch.save(acts_of(), path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps({"first": [1.0]}, protocol=4))
    assert main(["verify", str(run_dir)]) == 3
    out, err = capfd.readouterr()
    assert "load the file with torch and save it again" in out and err == ""


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_a_pickle_of_another_protocol_is_read_or_refused_in_one_line(tmp_path, protocol):
    """Through the command line: a library's warning would be a second line."""
    run_dir = write_v1(tmp_path / "run")
    out = io.BytesIO()
    torch.save({"first": Call(print, "hi")}, out, pickle_protocol=max(protocol, 2))
    (run_dir / "activations.pt").write_bytes(out.getvalue() if protocol > 1 else pickle.dumps({}, protocol))
    argv = ["-m", "neuron_signatures.runs", "migrate", str(run_dir)]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, cwd=TESTS.parent)
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and len(done.stderr) < 400, done.stderr


def test_a_flipped_bit_of_a_pt_file_is_found_by_its_own_checksum(tmp_path):
    path = write_v1(tmp_path / "run") / "activations.pt"
    assert zip_fault(path) is None
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = next(i for i in archive.infolist() if i.filename.endswith("data/1"))
    raw[member.header_offset + 64 + member.file_size // 2] ^= 1
    path.write_bytes(raw)
    fault = zip_fault(path)
    assert fault is not None and "data/1" in fault and "CRC" in fault
    path.write_bytes(raw[:-30])
    assert "not a whole .pt file" in str(zip_fault(path))


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from neuron_signatures.runs.run import Run
with Run.open(sys.argv[1]) as run:
    for _ in range(2):
        print(*(int(run.acts(p, layer=0, pos=0, neuron=0)) for p in run.prompts))
"""


@pytest.mark.parametrize("save_format", ["safetensors", "pt"])
def test_a_run_of_more_shards_than_a_process_may_open_is_read(tmp_path, save_format):
    acts = {f"p{i}": torch.full((N_LAYERS, 2, D_MLP), float(i)) for i in range(100)}
    run_dir = write_run(tmp_path / "run", acts, dtype="fp32", shard_bytes=1, save_format=save_format)
    done = subprocess.run([sys.executable, "-c", MANY, str(run_dir)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(i) for _ in range(2) for i in range(100)]


def test_a_reader_compares_each_checksum_once(tmp_path, monkeypatch):
    acts = {f"p{i}": torch.zeros(1, 1, 1) for i in range(MAX_OPEN + 3)}
    run_dir = write_run(tmp_path / "run", acts, dtype="fp32", shard_bytes=1)
    record = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps(record | {"layers": [0], "d_mlp": 1}))
    seen = []
    monkeypatch.setattr("neuron_signatures.runs.run.sha256_file", lambda path: seen.append(path.name) or "0" * 64)
    for f in record["files"]:
        f["sha256"] = "0" * 64
    (run_dir / "manifest.json").write_text(json.dumps(record | {"layers": [0], "d_mlp": 1}))
    with Run.open(run_dir, check="sha256") as run:
        for _ in range(2):
            for p in run.prompts:
                run.acts(p)
    assert len(seen) == len(set(seen)) == len(acts)
