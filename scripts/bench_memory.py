"""Peak memory of the influence metrics relative to the weights; the figures are in docs/performance.md.

    python scripts/bench_memory.py [--quick] [--only NAME ...]

The model has the shape of Gemma-2-2B with random weights: 5.2 GB in bf16, 10.5 GB in fp32. Each metric runs through
`poc2_analyze_run` in a process of its own; its peak resident memory is divided by the bytes of the weights in the
dtype in use. `anon` and `file` are the largest private memory and the largest memory of mapped files seen in that
process; they need not be largest at the same time. fp32 runs only where 16 GB of memory are available. `--quick` uses
two layers and a fiftieth of the vocabulary, which is too small for the bar. BENCH_MEMORY_DIR keeps the model (5.2 GB)
and the run for the next time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from bench_common import Bar, Bench, run_benches
from safetensors.torch import save_file
from transformers import Gemma2Config, Gemma2ForCausalLM

from neuron_signatures.demo import model_dir

LIMIT = 1.3
FP32_NEEDS = 16e9
DTYPE_BYTES = {"bf16": 2, "fp32": 4}
SHARD_BYTES = 1_500_000_000
TEXTS = (
    "The capital of the state containing Dallas is",
    "The capital of Texas is a city that is not the largest city in the state",
    "A city in the north is larger than the capital, and the capital is in the centre",
    "The river in the south of the state is the border, and the city on it is old",
)
METRICS: dict[str, list[str]] = {
    "dla": [],
    "act_grad": [],
    "act_grad_logprob": ["--function", "logprob"],
    "relp": [],
    "ig": ["--ig_steps", "4", "--ig_max_steps", "4"],
    "ig_all_positions": ["--ig_steps", "16", "--ig_max_steps", "16", "--ctx_idx", "all", "--prompt_id", "p3"],
    "ablation": ["--top_from", "dla:64"],
    "write_scores": ["--write_scores", "5", "--top_k", "20"],
    "random_sets": [],
}
COMMANDS = {
    "ablation": "dla,ablation", "act_grad_logprob": "act_grad", "ig_all_positions": "ig", "write_scores": "dla",
}  # fmt: skip


# Random sets of half of the neurons, as a validation measures them; 130 sets are three forward passes.
_RANDOM_SETS = """
import sys
from itertools import islice
from pathlib import Path
import numpy as np, torch
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.analysis.validation.controls import layer_matched
from neuron_signatures.analysis.validation.sets import NeuronSets
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.runs.run import Run
checked = check_prompt(Run.open(Path(sys.argv[1])), 0, ModelOverrides(dtype=sys.argv[2], device="cpu"))
ids = checked.prompt.token_ids
target = resolve_target(checked.model, ids, TargetRequest("top1_logit", -1, None, None, None, None, "pre_cap_logit"))
problem = Problem(checked.model.hf, ids, target.target, (target.target.pos,))
layers = tuple(range(len(checked.acts)))
sets = NeuronSets(problem, layers, batch=64, values=StoredValues(), advance=lambda n: None)
half = torch.arange(sets.n).view(sets.shape) % 2 == 0
random = islice(layer_matched(half, np.random.default_rng(0)), 130)
print(len(list(sets.measure("half", random, "keep", torch.zeros(*sets.shape)[:, None]))))
"""


class Peak(NamedTuple):
    """Largest resident bytes of a process: together (VmHWM), and the parts seen every few milliseconds."""

    resident: int
    anon: int
    file: int


def bench_metric(name: str, quick: bool) -> list[Bar]:
    """Peak memory of one metric in each dtype that fits into the memory of this machine."""
    out = []
    with _model_and_run(quick) as (folder, run):
        for dtype, size in DTYPE_BYTES.items():
            if dtype == "fp32" and not quick and _available() < FP32_NEEDS:
                print(f"skip {name} in fp32: less than {FP32_NEEDS / 1e9:.0f} GB available")
                continue
            weights = _n_parameters(folder) * size
            metric = COMMANDS.get(name, name)
            flags = ["--influence_metric", metric, "--model_dtype", dtype, *METRICS[name]]
            if name == "random_sets":
                peak = _peak_of_code(_RANDOM_SETS, [str(run), dtype])
            else:
                peak = _peak_of("poc2_analyze_run", ["--run_dir", str(run), "--mode", "influence", *flags, "--quiet"])
            ratio = peak.resident / weights
            parts = " and ".join(f"{key} {getattr(peak, key) / 1e9:.2f}" for key in ("anon", "file"))
            detail = f"{peak.resident / 1e9:.2f} GB ({parts}), weights {weights / 1e9:.2f} GB"
            out.append(Bar(f"peak memory of {name} in {dtype} / weights", ratio, f"<= {LIMIT}", ratio <= LIMIT, detail))
    return out


BENCHES: dict[str, Bench] = {name: lambda quick, name=name: bench_metric(name, quick) for name in METRICS}


@contextlib.contextmanager
def _model_and_run(quick: bool) -> Iterator[tuple[Path, Path]]:
    """The folders of the model and of a run of it in bf16, made once where BENCH_MEMORY_DIR is set."""
    with contextlib.ExitStack() as stack:
        kept = os.environ.get("BENCH_MEMORY_DIR") or stack.enter_context(tempfile.TemporaryDirectory())
        place = Path(kept) / ("quick" if quick else "full")
        model, run = place / "model", place / "run"
        if not (model / "config.json").is_file():
            write_model(model, quick)
        if not (run / "manifest.json").is_file():
            prompts = place / "prompts.json"
            prompts.write_text(json.dumps([{"id": f"p{i}", "text": text} for i, text in enumerate(TEXTS)]))
            flags = ["--model_name", str(model), "--model_dtype", "bf16", "--prompts_json", str(prompts)]
            _peak_of("poc1_dump_activations", [*flags, "--out_dir", str(run), "--quiet"])
        yield model, run


def write_model(folder: Path, quick: bool) -> None:
    """Random weights of standard deviation 0.02 in bf16, shard by shard; the norms are 0, which is neutral."""
    folder.mkdir(parents=True)
    config = Gemma2Config(
        vocab_size=5120 if quick else 256_000, hidden_size=2304, intermediate_size=9216,
        num_hidden_layers=2 if quick else 26, num_attention_heads=8, num_key_value_heads=4, head_dim=256,
        architectures=["Gemma2ForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in Gemma2ForCausalLM(config).named_parameters()}
    generator = torch.Generator().manual_seed(0)
    where: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    n_shards = 0
    for i, (name, shape) in enumerate(shapes.items()):
        empty = torch.zeros(shape, dtype=torch.bfloat16)
        shard[name] = empty if "norm" in name else empty.normal_(std=0.02, generator=generator)
        if i == len(shapes) - 1 or sum(t.nbytes for t in shard.values()) > SHARD_BYTES:
            n_shards += 1
            file = f"model-{n_shards:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            where |= dict.fromkeys(shard, file)
            shard = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    for file_with_tokens in model_dir().glob("*token*"):
        (folder / file_with_tokens.name).write_bytes(file_with_tokens.read_bytes())
    config.save_pretrained(folder)


def _n_parameters(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors")) // 2


def _peak_of(module: str, argv: list[str]) -> Peak:
    """Peak memory of one command in a process of its own."""
    code = f"import sys; from neuron_signatures.{module} import main\nif main(sys.argv[1:]): sys.exit(1)"
    return _peak_of_code(code, argv)


def _peak_of_code(code: str, argv: list[str]) -> Peak:
    """Peak memory of a program in a process of its own; Linux only. Raises if it fails."""
    code += "\nprint(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    with subprocess.Popen([sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, text=True) as child:
        anon, file = 0, 0
        while child.poll() is None:
            now = _status(child.pid)
            anon, file = max(anon, now.get("RssAnon", 0)), max(file, now.get("RssFile", 0))
            time.sleep(0.01)
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
    if child.returncode:
        raise RuntimeError(f"{argv} ended with {child.returncode}")
    return Peak(int(lines[-1]) * 1024, anon, file)


def _status(pid: int) -> dict[str, int]:
    """Sizes in bytes of a process that may have ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


if __name__ == "__main__":
    sys.exit(run_benches(__doc__, BENCHES))
