"""The runs that the attack changes: small dumps of the demo model, with every kind of result."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROMPTS = [
    {"id": "seed_prompt", "text": "The capital of the state containing Dallas is", "concepts": ["capital", "Dallas"]},
    {"id": "france", "text": "The capital of France is"},
    {"id": "austin", "text": "Austin is in Texas", "kind": "fact"},
    {"id": "paris", "text": "Paris is in"},
]
RUNS = ("v2", "pt", "v1", "stopped", "stopped_rank")
INFLUENCE = (
    "--mode", "influence", "--influence_metric", "dla,ablation", "--reference", "zero",
    "--layers", "0-1", "--top_k", "5", "--quiet", "--device", "cpu",
)  # fmt: skip


def dump_flags(shared: Path, out: Path, *more: str) -> list[str]:
    """Flags of a dump of the demo model in four shards."""
    return [
        "--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet", "--shard_size", "20kB",
        "--layers", "0-1", "--prompts_json", str(shared / "prompts.json"), "--out_dir", str(out), *more,
    ]  # fmt: skip


def import_libraries() -> None:
    """Import what the stages need, so that forked processes have it. Starts no thread."""
    import pandas  # noqa: F401
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401
    import torch

    import neuron_signatures.analysis.attribution.stage
    import neuron_signatures.analysis.peaks.analyze
    import neuron_signatures.analysis.signatures.analyze
    import neuron_signatures.dump.dump
    import neuron_signatures.dump.plan
    import neuron_signatures.models.load
    import neuron_signatures.poc1_browse_activations
    import neuron_signatures.runs.__main__
    import neuron_signatures.runs.migrate  # noqa: F401

    torch.set_num_threads(1)


def in_child(action: Callable[..., Any], *args: Any) -> int | None:
    """Call the function in a forked process and return its exit code, minus the number of the signal that ended it."""
    process = multiprocessing.get_context("fork").Process(target=action, args=args)
    process.start()
    process.join()
    return process.exitcode


def prepare(shared: Path) -> None:
    """Make the runs `RUNS` in `shared`, with the results of stage 2 in `v2` and `pt`."""
    shared.mkdir(parents=True)
    (shared / "prompts.json").write_text(json.dumps(PROMPTS), encoding="utf-8")
    if in_child(_prepare, shared):
        raise SystemExit("the runs for the attack could not be made")
    in_child(_stop_in_third_shard, dump_flags(shared, shared / "stopped"))
    shutil.copytree(shared / "v2", shared / "stopped_rank")
    in_child(_stop_rank, shared / "stopped_rank", INFLUENCE, "influence_seed_prompt_ablation")
    in_child(_stop_rank, shared / "stopped_rank", ["--quiet"], "neurons_aggregated_partial")


def _prepare(shared: Path) -> None:
    from neuron_signatures import poc1_dump_activations as poc1
    from neuron_signatures import poc2_analyze_run as poc2

    _quietly(poc1.main, dump_flags(shared, shared / "v2"))
    _quietly(poc1.main, dump_flags(shared, shared / "pt", "--save_format", "pt"))
    _quietly(poc1.main, dump_flags(shared, shared / "one_file", "--save_format", "pt", "--shard_size", "1GB"))
    _format_1(shared / "one_file", shared / "v1")
    for flags in ([], ["--mode", "signatures"], INFLUENCE):
        _quietly(poc2.main, ["--run_dir", str(shared / "v2"), "--quiet", *flags])
    shutil.copytree(shared / "v2" / "analysis", shared / "pt" / "analysis")


def _format_1(source: Path, target: Path) -> None:
    """A run of format 1 from a run of one `.pt` file."""
    target.mkdir()
    shutil.move(source / "activations.pt", target / "activations.pt")
    raw = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    shutil.rmtree(source)
    kept = ("created_at_utc", "model_name", "hook_name", "d_mlp", "run_device", "model_dtype", "save_dtype")
    of_prompt = (
        "probe_id", "text", "token_ids", "tokens_ascii", "seq_len", "activation_tensor_key", "activation_tensor_shape",
        "activation_tensor_dtype",
    )  # fmt: skip
    record = {
        "format_version": 1,
        **{k: raw[k] for k in kept},
        "n_layers": len(raw["layers"]),
        "prepend_bos": True,
        "prompts": [{k: p[k] for k in of_prompt} for p in raw["prompts"]],
        "activations_file": "activations.pt",
    }
    (target / "manifest.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def _stop_in_third_shard(flags: Sequence[str]) -> None:
    from neuron_signatures import poc1_dump_activations as poc1

    _kill_after_rename("activations-00002-")
    _quietly(poc1.main, flags)


def _stop_rank(target: Path, flags: Sequence[str], name: str) -> None:
    """Leave the finished part of a command that was killed, in a file whose name begins so."""
    from neuron_signatures import poc2_analyze_run as poc2
    from neuron_signatures.runs import partial

    partial._EVERY_SECONDS = 0.0
    _kill_after_rename(name)
    _quietly(poc2.main, ["--run_dir", str(target), *flags])


def _kill_after_rename(start: str) -> None:
    """Kill this process after it has renamed a file to a name that begins so."""
    rename = os.replace

    def replace(source: Any, target: Any, **kwargs: Any) -> None:
        rename(source, target, **kwargs)
        if Path(target).name.startswith(start):
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def _quietly(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> None:
    logging.disable(logging.WARNING)
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        code = main(argv)
    if code:
        raise SystemExit(f"{' '.join(argv)}: exit code {code}: {text.getvalue()}")
