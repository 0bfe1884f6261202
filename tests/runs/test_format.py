"""The rules of the run folder: a run that was written is read back, and invalid files are refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths import TESTS
from run_folders import D_MLP, LENGTHS, N_LAYERS, acts_of, write_run, write_v1

from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest_file import read_summary
from neuron_signatures.runs.names import check_ids, default_run_dir
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("save_format", ["safetensors", "pt"])
@pytest.mark.parametrize("shard_bytes", [1, 70, 10**9])
def test_what_is_written_is_read(tmp_path, dtype, save_format, shard_bytes):
    acts = acts_of(dtype=dtype)
    run = Run.open(write_run(tmp_path / "r", acts, dtype=dtype, save_format=save_format, shard_bytes=shard_bytes))
    for key, tensor in acts.items():
        want = tensor.float().numpy()
        np.testing.assert_array_equal(run.acts(key), want)
        assert torch.equal(run.tensor(key), tensor)
        for layer in range(N_LAYERS):
            np.testing.assert_array_equal(run.acts(key, layer=layer), want[layer])
            np.testing.assert_array_equal(run.acts(key, layer=layer, neuron=4), want[layer, :, 4])
        np.testing.assert_array_equal(run.acts(key, neuron=2), want[:, :, 2])
    assert verify_run(run.path).faults == []


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_format_1_is_read_and_migrated_bit_for_bit(tmp_path, dtype, capsys):
    acts = acts_of(dtype=dtype)
    acts["third"][0, 0, 0] = float("nan")
    acts["third"][0, 0, 1] = float("inf")
    old = Run.open(write_v1(tmp_path / "old", acts, dtype))
    before = (tmp_path / "old" / "manifest.json").read_bytes()
    assert old.format_version == 1
    np.testing.assert_array_equal(old.acts("third", layer=2, neuron=3), acts["third"][2, :, 3].float().numpy())

    assert main(["migrate", str(tmp_path / "old"), "--shard_size", "100"]) == 0
    new = Run.open(tmp_path / "old_v2", check="sha256")
    assert new.format_version == 2
    assert len(new.file_names()) > 1
    for key, tensor in acts.items():
        assert torch.equal(new.tensor(key).view(torch.uint8), tensor.view(torch.uint8))
    assert [p.nonfinite for p in new.prompts] == [0, 0, 2]
    assert old.manifest.seed is None and new.manifest.seed is None  # format 1 records none
    assert (tmp_path / "old" / "manifest.json").read_bytes() == before
    assert main(["migrate", str(tmp_path / "old_v2")]) == 2
    assert "format 2 in safetensors already" in capsys.readouterr().err


def test_viewing_a_run_imports_no_torch(tmp_path):
    write_run(tmp_path / "r")
    code = (
        "import sys; from neuron_signatures.runs.run import Run; r = Run.open(sys.argv[1]);"
        "r.acts('first', layer=1, neuron=2); r.acts('third');"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], check=True)


def test_one_neuron_is_read_without_the_rest(tmp_path, monkeypatch):
    run = Run.open(write_run(tmp_path / "r"))
    run.acts("third", layer=0)
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: read.append(n) or real(fd, n, at))
    run.acts("third", layer=1, neuron=0)
    assert sum(read) == 2 * LENGTHS["third"]
    read.clear()
    run.acts("third", layer=1)
    assert sum(read) == 2 * LENGTHS["third"] * D_MLP


def test_probe_ids_can_be_counted_with_grep(tmp_path):
    run_dir = write_run(tmp_path / "r")
    lines = (run_dir / "manifest.json").read_text().splitlines()
    assert sum('"probe_id"' in line for line in lines) == len(LENGTHS)
    json.loads("\n".join(lines), parse_constant=pytest.fail)


def test_a_summary_needs_only_the_head_of_the_manifest(tmp_path):
    run_dir = write_run(tmp_path / "r")
    path = run_dir / "manifest.json"
    head = path.read_text().index('"prompts"')
    path.write_text(path.read_text()[: head + 40])  # cut off inside the prompts
    assert read_summary(run_dir)["n_prompts"] == len(LENGTHS)


def test_prompt_by_id_or_index(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    assert run.prompt("second") == run.prompt(1) == run.prompt("1")
    for wrong in ("3", 3, -1, "fourth"):
        with pytest.raises(UsageError):
            run.prompt(wrong)
    with pytest.raises(UsageError, match=r"layer 3 is not stored \(layers 0\.\.2 are\)"):
        run.acts("first", layer=3)
    with pytest.raises(UsageError, match="neuron 5"):
        run.acts("first", layer=0, neuron=5)


def test_other_programs_read_our_safetensors(tmp_path):
    from safetensors.torch import load_file

    for dtype in ("bf16", "fp16", "fp32"):
        acts = acts_of(dtype=dtype)
        loaded = load_file(write_run(tmp_path / dtype, acts, dtype=dtype) / "activations.safetensors")
        assert loaded.keys() == acts.keys() and all(torch.equal(loaded[k], acts[k]) for k in acts)


# Damaged tensors


@pytest.mark.parametrize("save_format", ["safetensors", "pt"])
@pytest.mark.parametrize("damage", ["truncated", "extended", "flipped", "missing"])
def test_a_damaged_shard_is_named_and_the_others_stay_readable(tmp_path, capsys, save_format, damage):
    run_dir = write_run(tmp_path / "r", shard_bytes=70, save_format=save_format)
    name = Run.open(run_dir).prompt("third").file
    path = run_dir / name
    raw = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(raw[:-3])
    elif damage == "extended":
        path.write_bytes(raw + b"\0")
    elif damage == "missing":
        path.unlink()
    else:
        raw[-5] ^= 0x10
        path.write_bytes(raw)
    run = Run.open(run_dir, check="sha256")
    np.testing.assert_array_equal(run.acts("first"), acts_of()["first"].float().numpy())
    reason = {"flipped": "sha256"}.get(damage, damage)
    with pytest.raises(BadRunError, match=f"{name}.*{reason}"):
        run.acts("third")
    assert main(["verify", str(run_dir)]) == 3
    out = capsys.readouterr().out
    assert name in out and reason in out and out.count("FAULT") == 1


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found_and_never_crashes_a_reader(tmp_path_factory, at, bit):
    run_dir = write_run(tmp_path_factory.mktemp("flip") / "r")
    path = run_dir / "activations.safetensors"
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    assert len(verify_run(run_dir).faults) == 1
    try:  # a viewer checks the size and the header only
        Run.open(run_dir).acts("second")
    except BadRunError as e:
        assert "activations.safetensors" in e.line()


# Manifests


def edited(tmp_path, edit):
    run_dir = write_run(tmp_path / "r")
    path = run_dir / "manifest.json"
    text = edit(path.read_text())
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return run_dir


def nested(depth: int) -> dict:
    return {"x": nested(depth - 1)} if depth else {}


def change(**fields):
    return lambda text: {**json.loads(text), **fields}


def change_prompt(**fields):
    def edit(text):
        raw = json.loads(text)
        raw["prompts"][1].update(fields)
        return raw

    return edit


@pytest.mark.parametrize(
    ("edit", "needle"),
    [
        (lambda t: t[:-20], "not valid JSON"),
        (lambda t: "", "not valid JSON"),
        (lambda t: "[]", "not a JSON object"),
        (lambda t: "[" * 200_000, "nested deeper than 64 levels"),
        (change(flags_resolved=nested(65)), "nested deeper than 64 levels"),
        (lambda t: t.replace('"wall_seconds": 0.5', '"wall_seconds": NaN'), "NaN is not JSON"),
        (lambda t: t.replace('"wall_seconds": 0.5', '"wall_seconds": ' + "9" * 5000), "not valid JSON"),
        (lambda t: t.replace('"wall_seconds": 0.5', '"wall_seconds": 1e999'), "1e100 or more"),
        (change(surprise=1), "surprise"),
        (change(d_mlp="5"), "d_mlp"),
        (change(d_mlp=None), "d_mlp"),
        (change(layers=[0, 1, 9]), "layers"),
        (change(n_prompts=7), "n_prompts is 7"),
        (change(format_version=3), "format_version is 3, this reader knows 1 and 2"),
        (change(format_version="2"), "format_version"),
        (change(format_version=True), "format_version"),
        (change_prompt(seq_len=-1), "prompts.1.seq_len"),
        (change_prompt(seq_len=2), "second: shape"),
        (change_prompt(tokens=[]), "0 tokens for seq_len 1"),
        (change_prompt(probe_id="first"), "used twice"),
        (change_prompt(probe_id="FIRST"), "differ only in case"),
        (change_prompt(probe_id="../x"), "does not match"),
        (change_prompt(file="other.safetensors"), "not listed"),
        (change_prompt(activation_tensor_dtype="int8"), "activation_tensor_dtype"),
    ],
)
def test_a_bad_manifest_gives_one_line_and_exit_3(tmp_path, capsys, edit, needle):
    run_dir = edited(tmp_path, edit)
    assert main(["show", str(run_dir)]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "manifest.json" in err and needle in err
    assert main(["list", str(tmp_path)]) == 0  # listed, not hidden
    assert "r " in capsys.readouterr().out


def test_a_manifest_that_is_too_large_is_refused(tmp_path, capsys, monkeypatch):
    run_dir = write_run(tmp_path / "r")
    monkeypatch.setattr("neuron_signatures.runs.manifest_file.MAX_BYTES", 100)
    assert main(["show", str(run_dir)]) == 3
    assert "larger than 100 bytes" in capsys.readouterr().err


def test_a_mismatch_of_manifest_and_tensors_is_refused_with_the_differences(tmp_path):
    edit = change_prompt(activation_tensor_key="nobody")
    run = Run.open(edited(tmp_path, edit))
    with pytest.raises(BadRunError, match="no tensor 'nobody'; unknown tensor 'second'"):
        run.acts("first")
    assert len(verify_run(run.path).faults) == 1


def test_format_1_with_mismatched_tensors_is_refused(tmp_path):
    run_dir = write_v1(tmp_path / "old")
    torch.save({"first": torch.zeros(1, 2, 3)}, run_dir / "activations.pt")
    with pytest.raises(BadRunError, match=r"fp32\[1, 2, 3\], the manifest says bf16\[3, 4, 5\]"):
        Run.open(run_dir).acts("first")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_json_in_place_of_a_manifest_gives_a_bad_run_error(tmp_path_factory, value):
    run_dir = tmp_path_factory.mktemp("fuzz")
    (run_dir / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(BadRunError):
        Run.open(run_dir)


# Paths and ids


@pytest.mark.parametrize(
    "name", ["../secret.pt", "/etc/passwd", "a/../../secret.pt", "C:\\x", "..\\secret.pt", "a\0b", ""]
)
def test_a_file_outside_the_run_is_refused_unopened(tmp_path, name):
    (tmp_path / "secret.pt").write_bytes(b"secret")
    run_dir = write_v1(tmp_path / "old", activations_file=name)
    with pytest.raises(BadRunError, match="leads out of the run folder"):
        Run.open(run_dir).acts("first")


@pytest.mark.parametrize("name", [".", "./", "/.", "./."])
def test_a_file_name_that_names_the_run_folder_is_refused_in_a_listing_too(tmp_path, capsys, name):
    run_dir = write_v1(tmp_path / "old", activations_file=name)
    with pytest.raises(BadRunError, match=r"names no file|leads out of the run folder"):
        Run.open(run_dir).acts("first")
    write_run(tmp_path / "z_other")
    assert main(["list", str(tmp_path), "--json"]) == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [(r["name"], r["status"]) for r in rows] == [("old", "broken"), ("z_other", "complete")]


def test_a_link_that_leads_out_of_the_run_is_refused(tmp_path):
    run_dir = write_v1(tmp_path / "old")
    (run_dir / "activations.pt").rename(tmp_path / "elsewhere.pt")
    (run_dir / "activations.pt").symlink_to(tmp_path / "elsewhere.pt")
    with pytest.raises(BadRunError, match="link that leads out"):
        Run.open(run_dir).acts("first")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "outside", "loop"])
def test_a_manifest_that_is_not_a_regular_file_of_the_run_is_refused_unopened(tmp_path, kind, capsys):
    run_dir = write_v1(tmp_path / "runs" / "old")
    manifest = run_dir / "manifest.json"
    manifest.rename(tmp_path / "elsewhere.json")
    if kind == "pipe":
        os.mkfifo(manifest)  # opening it would block forever
    elif kind == "folder":
        manifest.mkdir()
    else:
        to = {"device": Path("/dev/zero"), "outside": tmp_path / "elsewhere.json", "loop": manifest}[kind]
        manifest.symlink_to(to)
    says = {"pipe": "not a regular file", "folder": "not a regular file", "loop": "cannot be read"}
    with pytest.raises(BadRunError, match=says.get(kind, "link that leads out")):
        Run.open(run_dir)
    assert main(["list", str(tmp_path / "runs"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "broken"


@pytest.mark.parametrize("bad", ["", "a/b", "..", "a\0", "a\nb", "a:b", "-x", ".x", "a" * 300, "é", "a b", "\u202ex"])
def test_ids_that_are_not_valid_file_names_are_refused(bad):
    with pytest.raises(UsageError) as e:
        check_ids(["good", bad], where="here")
    assert "does not match" in e.value.line() and "\n" not in e.value.line() and len(e.value.line()) < 300


def test_ids_used_twice_or_differing_in_case_are_refused():
    with pytest.raises(UsageError, match="used twice"):
        check_ids(["a", "b", "a"], where="here")
    with pytest.raises(UsageError, match="'Probe' and 'probe' differ only in case"):
        check_ids(["Probe", "probe"], where="here")


# File modes and pickles


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_files_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        run_dir = write_run(tmp_path / "r")
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in run_dir.iterdir()}
    assert modes == {"manifest.json": mode, "activations.safetensors": mode}


class Boom:
    def __reduce__(self):
        return os.system, ("touch boom-was-here",)


def test_a_pickle_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_dir = write_v1(tmp_path / "old")
    (run_dir / "activations.pt").write_bytes(pickle.dumps({"first": Boom()}, protocol=2))
    with pytest.raises(BadRunError, match=r"activations\.pt"):
        Run.open(run_dir).acts("first")
    assert not (tmp_path / "boom-was-here").exists()


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04", b"\x80\x02.", b"nonsense" * 50])
def test_a_pt_file_of_junk_gives_one_line(tmp_path, junk):
    run_dir = write_v1(tmp_path / "old")
    (run_dir / "activations.pt").write_bytes(junk)
    with pytest.raises(BadRunError, match=r"activations\.pt"):
        Run.open(run_dir).acts("first")


# Listing and showing


def test_default_names_are_unique(tmp_path):
    names = {default_run_dir(tmp_path, "poc1").name for _ in range(200)}
    assert len(names) == 200
    assert all(name.startswith("poc1_20") for name in names)


def test_a_listing_shows_runs_in_every_state(tmp_path, capsys):
    write_run(tmp_path / "good")
    write_v1(tmp_path / "old")
    write_run(tmp_path / "cut")
    os.truncate(tmp_path / "cut" / "activations.safetensors", 50)
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "orphan").mkdir()
    (tmp_path / "orphan" / "activations.pt").write_bytes(b"x")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "dump_journal.jsonl").write_text("{}\n")
    assert main(["list", str(tmp_path), "--json"]) == 0
    rows = {r["name"]: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {k: r["status"] for k, r in rows.items()} == {
        "good": "complete", "old": "complete", "cut": "broken", "orphan": "broken", "half": "stopped",
    }  # fmt: skip
    assert rows["good"]["n_prompts"] == rows["old"]["n_prompts"] == 3
    assert main(["list", str(tmp_path)]) == 0
    assert "missing or of another size" in capsys.readouterr().out


def test_show_escapes_control_characters(tmp_path, capsys):
    edit = change_prompt(text="\x1b]52;c;aGk=\x07 \u202e [/bold] \r\n\t", tokens=["\x1b[31m"])
    run_dir = edited(tmp_path, edit)
    assert main(["show", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert not set(out) - {"\n"} & {"\x1b", "\x07", "\r", "\t", "\u202e"}
    assert r"\x1b]52;c;aGk=\x07" in out


def test_list_show_and_verify_shorten_long_fields(tmp_path, capsys):
    run_dir = write_v1(tmp_path / "old", hook_name="x" * 100_000, created_at_utc="\x1b" * 1000)
    assert main(["show", str(run_dir)]) == 0
    assert main(["verify", str(run_dir)]) == 0
    write_v1(tmp_path / "long", activations_file="\x1b/" * 400 + "b")
    assert main(["list", str(tmp_path)]) == 0
    failed = [{"prompt_id": "p" * 1000, "reason": "\x07" * 1000}]
    run_dir = edited(tmp_path, change(failed_prompts=failed))
    assert main(["show", str(run_dir)]) == 0
    assert main(["verify", str(run_dir)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 400


def test_missing_folders_give_one_line(tmp_path, capsys):
    assert main(["show", str(tmp_path / "nothing")]) == 3
    assert main(["list", str(tmp_path / "nothing")]) == 2
    assert main(["list", str(tmp_path)]) == 0
    assert main(["frobnicate"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 3 and "no runs in" in captured.out


BIG = """
import json, struct, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
import run_folders as rf
from pathlib import Path
from neuron_signatures.runs.manifest import FileRecord, PromptRecord
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.run import Run
run_dir, n = Path(sys.argv[1]), 1000
shape = [26, 16, 9216]
size = 26 * 16 * 9216 * 2
header = {f"p{i}": {"dtype": "BF16", "shape": shape, "data_offsets": [i * size, (i + 1) * size]} for i in range(n)}
raw = json.dumps(header).encode()
with open(run_dir / "activations.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(raw)) + raw)
    f.truncate(8 + len(raw) + n * size)
    f.seek(8 + len(raw) + 700 * size + ((5 * 16 + 3) * 9216 + 1234) * 2)
    f.write(struct.pack("<H", 0x3FC0))  # 1.5 in bf16
base = Run.open(rf.write_run(run_dir / "small")).manifest
prompts = [
    PromptRecord(probe_id=f"p{i}", text="x", token_ids=[0] * 16, tokens=["x"] * 16, tokens_ascii=["x"] * 16,
                 seq_len=16, activation_tensor_key=f"p{i}", activation_tensor_shape=shape,
                 activation_tensor_dtype="bf16", file="activations.safetensors", nonfinite=0, truncated_from=None,
                 metadata={}) for i in range(n)]
files = [FileRecord(name="activations.safetensors", bytes=8 + len(raw) + n * size, sha256="0" * 64)]
write_manifest(run_dir, base.model_copy(update=dict(
    n_prompts=n, n_tokens=16 * n, n_layers=26, layers=list(range(26)), d_mlp=9216, files=files, prompts=prompts)))
def peak_kb():  # not ru_maxrss: a child inherits the peak of its parent
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak_kb()
with Run.open(run_dir) as run:
    column = run.acts("p700", layer=5, neuron=1234)
    everywhere = [run.acts(p, layer=5, neuron=1234).max() for p in run.prompts]
    layer = run.acts(999, layer=25)
grown_mb = (peak_kb() - before) // 1024
print(json.dumps([run.nbytes(), column.tolist(), int(np.argmax(everywhere)), list(layer.shape), grown_mb]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_an_eight_gigabyte_run_is_read_in_60_megabytes(tmp_path):
    """The file is sparse, so it takes no space on the disk."""
    argv = [sys.executable, "-c", BIG, str(tmp_path), str(TESTS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nbytes, column, argmax, shape, grown_mb = json.loads(done.stdout)
    assert nbytes > 7.6e9 and shape == [16, 9216]
    assert column == [0, 0, 0, 1.5, *[0] * 12] and argmax == 700
    assert grown_mb < 60


# Migration, and entries that are not runs


def test_any_id_of_format_1_is_migrated_to_a_valid_one(tmp_path):
    acts = {"a b": acts_of()["first"], "../x": acts_of()["second"]}
    run_dir = write_v1(tmp_path / "old", acts)
    np.testing.assert_array_equal(Run.open(run_dir).acts("../x"), acts["../x"].float().numpy())
    assert main(["migrate", str(run_dir)]) == 0
    new = Run.open(tmp_path / "old_v2", check="sha256")
    assert [p.metadata["original_id"] for p in new.prompts] == list(acts)
    assert all("/" not in p.probe_id and " " not in p.probe_id for p in new.prompts)
    assert torch.equal(new.tensor(1), acts["../x"])


def test_a_failed_migration_writes_nothing(tmp_path, capsys):
    run_dir = write_v1(tmp_path / "old")
    (run_dir / "activations.pt").write_bytes(b"junk")
    assert main(["migrate", str(run_dir)]) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]
    (tmp_path / "old_v2").mkdir()
    assert main(["migrate", str(run_dir)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_migrate_takes_shared_and_grad_tensors_and_refuses_sparse_ones(tmp_path, monkeypatch):
    shared = torch.randn(N_LAYERS, 4, D_MLP)
    write_v1(tmp_path / "shared", {"a": shared, "b": shared}, "fp32")
    write_v1(tmp_path / "grad", {"a": shared.clone().requires_grad_()}, "fp32")
    write_v1(tmp_path / "sparse", {"a": shared.to_sparse()}, "fp32")
    assert main(["migrate", str(tmp_path / "shared")]) == 0
    assert main(["verify", str(tmp_path / "sparse")]) == 3
    monkeypatch.chdir(tmp_path / "grad")
    assert main(["migrate", "."]) == 0
    assert torch.equal(Run.open(tmp_path / "grad_v2").tensor("a"), shared)


def test_migrate_turns_pickled_tensors_of_format_2_into_safetensors(tmp_path):
    run_dir = write_run(tmp_path / "pt", save_format="pt", shard_bytes=70)
    assert main(["migrate", str(run_dir)]) == 0
    new = Run.open(tmp_path / "pt_v2", check="sha256")
    assert new.file_names() == ["activations.safetensors"]
    assert torch.equal(new.tensor("third"), acts_of()["third"])


@pytest.mark.parametrize("target", ["old/new", "old/a/b", "old/../old/new", "link/new", "dangling", "loop", "no/.."])
def test_migrate_refuses_a_target_that_exists_or_is_in_the_run(tmp_path, monkeypatch, capsys, target):
    monkeypatch.chdir(tmp_path)
    write_v1(tmp_path / "old")
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    assert main(["migrate", "old", "--out_dir", target]) == 2
    assert (
        "exists already" if target in ("dangling", "loop", "no/..") else "is inside the run"
    ) in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_migrate_writes_any_name_that_a_folder_can_have(tmp_path, capsys):
    run_dir = write_v1(tmp_path / "old")
    assert main(["migrate", str(run_dir), "--out_dir", str(tmp_path / ("x" * 250))]) == 0
    assert torch.equal(Run.open(tmp_path / ("x" * 250)).tensor("third"), acts_of()["third"])
    run_dir.rename(tmp_path / ("y" * 254))
    before = sorted(tmp_path.rglob("*"))
    assert main(["migrate", str(tmp_path / ("y" * 254))]) == 2
    assert "name too long" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("source", "code"), [("/", 2), ("loop", 3)])
def test_migrate_refuses_a_folder_that_is_no_run_in_one_line(tmp_path, capsys, source, code):
    (tmp_path / "loop").symlink_to("loop")
    assert main(["migrate", str(tmp_path / source)]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_listing_copes_with_links_folders_and_files(tmp_path, capsys):
    write_run(tmp_path / "good")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / "manifest.json").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert main(["list", str(tmp_path), "--json"]) == 0
    rows = {r["name"]: r["status"] for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows == {"good": "complete", "folder": "broken"}
    assert main(["list", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "header", [b"1", b'{"a": 1}', b'{"first": {"dtype": "BF16", "shape": [3, 4, 5], "data_offsets": [0.0, 120.0]}}']
)
def test_invalid_safetensors_headers_are_refused(tmp_path, header):
    run_dir = write_v1(tmp_path / "old", activations_file="activations.safetensors")
    (run_dir / "activations.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadRunError, match="not a whole safetensors file"):
        Run.open(run_dir).acts("first")


def test_a_trillion_layers_in_a_manifest_are_refused_without_allocating(tmp_path):
    with pytest.raises(BadRunError, match="n_layers"):
        Run.open(write_v1(tmp_path / "old", n_layers=10**12))


def test_a_lock_of_another_host_is_valid_for_an_hour(tmp_path, capsys):
    folder = tmp_path / "copied"
    folder.mkdir()
    (folder / "dump_journal.jsonl").write_text("{}\n")
    (folder / ".lock").write_text('{"host": "elsewhere", "pid": 1, "job": null, "since": "then"}')
    assert main(["list", str(tmp_path)]) == 0
    assert "writing" in capsys.readouterr().out
    for p in folder.iterdir():
        os.utime(p, (1e9, 1e9))
    assert main(["list", str(tmp_path)]) == 0
    assert "stopped" in capsys.readouterr().out


@pytest.mark.parametrize("value", [b"1.5,", b'"ab",', b"[],", b'{"a":1},'])
def test_a_manifest_of_too_many_values_is_refused_before_it_is_parsed(monkeypatch, value):
    monkeypatch.setattr("json.loads", pytest.fail)
    with pytest.raises(ValueError, match="too much memory"):
        parse_json(b"[" + value * (14 << 20) + b"0]")


def test_spans_of_words_are_accepted():
    spans = [[i, i + 3] for i in range(0, 60_000, 4)]
    assert parse_json(json.dumps(spans).encode()) == spans


def test_a_listing_does_not_read_a_large_manifest(tmp_path, capsys):
    run_dir = write_run(tmp_path / "r")
    text = (run_dir / "manifest.json").read_text()
    (run_dir / "manifest.json").write_text(" " * (33 << 20) + text)
    assert main(["list", str(tmp_path)]) == 0
    assert "larger than 33554432 bytes" in capsys.readouterr().out
    assert main(["show", str(run_dir)]) == 0


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_show_says_what_format_1_records_and_no_more(tmp_path, capsys, prepend_bos):
    run_dir = write_v1(tmp_path / "run", prepend_bos=prepend_bos)
    assert main(["show", str(run_dir)]) == 0
    said = capsys.readouterr().out
    assert f"BOS {'prepended' if prepend_bos else 'off'}, id not recorded" in said


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
@pytest.mark.parametrize("write", [write_run, write_v1])
def test_show_ends_with_an_error_if_a_tensor_file_is_missing(tmp_path, capsys, write, json_flag):
    run_dir = write(tmp_path / "run")
    (file,) = run_dir.glob("activations.*")
    file.unlink()
    assert main(["show", str(run_dir), *json_flag]) == 3
    out, err = capsys.readouterr()
    assert str(file) in err and "the file is missing. Copy the whole run folder again" in err
    assert "0 B" not in out and ("first" in out)
