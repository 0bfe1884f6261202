"""The flags of stages in shards, without an engine: what contradicts what, and what each shard is given."""

from __future__ import annotations

import shlex
import socket
import sys
import types

import pytest

from neuron_signatures import poc4_extract_records
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.sharding import add_shard_flags, check_shard_flags, run_on_engine
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.sharding.shard import Shard


def parser() -> Parser:
    p = Parser(prog="stage")
    p.add_argument("--text")
    p.add_argument("--layers", nargs="+")
    p.add_argument("--device", default="auto")
    p.add_argument("--device_map")
    p.add_argument("--overwrite", action="store_true")
    add_shard_flags(p)
    return p


def checked(argv: list[str]) -> None:
    p = parser()
    check_shard_flags(p.parse_args(argv), p.given(argv))


@pytest.mark.parametrize(
    "argv",
    [
        "", "--shard 2/4", "--merge", "--engine ray", "--engine ray --ray_address auto --n_shards 8",
        "--engine ray --ray-address 10.0.0.1:6379 --device cuda",
    ],
)  # fmt: skip
def test_flags_that_go_together_are_accepted(argv):
    checked(argv.split())


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        ("--shard 1/2 --merge", "give one of them"),
        ("--ray_address auto", "--ray_address is for an engine"),
        ("--n_shards 3 --shard 1/3", "--n_shards is for an engine"),
        ("--engine ray --shard 1/3", "leave --shard away"),
        ("--engine ray --merge", "leave --merge away"),
        ("--engine ray --n_shards 0", "0 is below 1"),
        ("--engine ray --ray_address ray://head:10001", "Ray Client"),
        ("--engine ray --device cuda:1", "--device cuda:1: An engine gives each shard one GPU. Give --device cuda"),
        ("--engine ray --device_map auto", "--device_map auto: An engine gives each shard one GPU"),
        ("--engine rays", "did you mean ray?"),
        ("--shard 3/2", "'3/2' is not a part such as 1/4"),
        ("--shard 1", "'1' is not a part"),
    ],
)
def test_flags_that_contradict_each_other(argv, what):
    with pytest.raises(UsageError) as e:
        checked(argv.split())
    assert what in e.value.line()


def test_a_shard():
    assert parser().parse_args(["--shard=2/4"]).shard == Shard(2, 4)


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        ("--engine ray --text a", "--text a"),
        ("--engine=ray --text=a --n-shards=3", "--text=a"),
        ("--text a --ray-address auto --overwrite --n_shards 3", "--text a"),
        ("--layers 1 2 --overwrite --text 'a --engine ray'", "--layers 1 2 --text 'a --engine ray'"),
        ("--text=--engine", "--text=--engine"),
        ("--text @home", "--text @home"),
        ("", ""),
    ],
)
def test_flags_are_removed(argv, rest):
    names = {"engine", "ray_address", "n_shards", "overwrite"}
    assert parser().without(shlex.split(argv), names) == shlex.split(rest)


def test_flags_of_a_file_are_removed(tmp_path):
    (tmp_path / "inner").write_text("--n-shards 4 --text 'two words'\n")
    (tmp_path / "outer").write_text(f"--engine ray  # a comment\n@{tmp_path}/inner\n")
    rest = parser().without([f"@{tmp_path}/outer", "--merge"], {"engine", "n_shards"})
    assert rest == ["--text", "two words", "--merge"]
    assert parser().without(rest, {"engine", "n_shards"}) == rest


def test_what_the_commands_of_an_engine_are_given(monkeypatch):
    from neuron_signatures.cli import ray_engine

    requests = []
    monkeypatch.setattr(ray_engine, "run_on_ray", lambda request: requests.append(request) or 0)
    argv = shlex.split(
        "--out_dir x --model demo --corpus demo --json --engine ray --n-shards=3 --device cpu --overwrite"
    )
    assert poc4_extract_records.main(argv) == 0
    (found,) = requests
    common = ("--out_dir", "x", "--model", "demo", "--corpus", "demo")
    assert found.flags == (*common, "--device", "cpu")
    assert found.prepare == (*common, "--device", "cpu", "--overwrite", "--index_only")
    assert found.merge == (*common, "--json", "--device", "cpu", "--merge")
    assert (found.stage, found.n_shards, found.address) == ("neuron_signatures.poc4_extract_records", 3, None)
    assert not found.with_gpu and found.again == "run the same command again without --overwrite"


def test_without_preparation_nothing_is_overwritten():
    p = parser()
    argv = ["--engine", "ray", "--overwrite"]
    with pytest.raises(UsageError, match="--overwrite is not for --engine"):
        run_on_engine("stage", p, argv, p.parse_args(argv), prepare=None)


STAGE = ["--out_dir", "run", "--model_name", "demo", "--corpus", "demo", "--engine", "ray"]


def test_the_corpus_alone_needs_no_engine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert poc4_extract_records.main([*STAGE, "--index_only"]) == 2
    assert "leave --index_only away" in capsys.readouterr().err


def test_a_forecast_needs_no_engine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert poc4_extract_records.main([*STAGE, "--dry_run", "--max_tokens", "500", "--json", "--quiet"]) == 0
    assert '"n_tokens": 500' in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_ray_that_is_not_installed_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)  # the import fails
    assert poc4_extract_records.main(STAGE) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: Ray is not installed") and err.count("\n") == 1
    assert "pip install -r requirements-ray.txt" in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_an_address_at_which_nothing_listens_is_one_line(tmp_path, monkeypatch, capsys, by):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address if by == "variable" else "")
    assert poc4_extract_records.main([*STAGE, "--ray_address", "auto" if by == "variable" else address]) == 1
    err = capsys.readouterr().err
    assert "no Ray cluster answers" in err and "refused" in err and err.count("\n") == 1
    assert "ray start --head" in err and not list(tmp_path.iterdir())
