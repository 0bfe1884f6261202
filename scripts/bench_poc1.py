"""Speed and memory of stage 1, as ratios; the figures are in docs/performance.md.

    python scripts/bench_poc1.py [--quick] [--only NAME ...]

Baselines:
- `backbone`: the Hugging Face decoder without unembedding, over the same batches, storing nothing
- `run_with_cache`: transformer-lens, one prompt at a time
- memory: a dump of 400 prompts in a separate process
- `--help`: `python -c pass`

The two sides of each pair run alternately, and their medians are compared.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from bench_common import Bar, Bench, alternate, peak_memory, run_benches, spread, timed
from bench_influence import random_gemma2

from neuron_signatures.cli.progress import Progress
from neuron_signatures.demo import model_dir
from neuron_signatures.demo.world import documents
from neuron_signatures.dump import dump as dump_module
from neuron_signatures.dump.batches import plan_batches
from neuron_signatures.dump.config import DumpConfig
from neuron_signatures.dump.forward import fitted_batch_tokens
from neuron_signatures.dump.plan import DumpPlan, plan_dump
from neuron_signatures.dump.prompts import read_prompts
from neuron_signatures.models.capture import backbone, pad_batch
from neuron_signatures.models.load import LoadedModel, load_model, to_bridge
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.manifest import Backend


def bench_random_gemma2(quick: bool) -> list[Bar]:
    """Dump and backbone on a random Gemma-2 of 8 layers, at 128 tokens."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = str(random_gemma2(Path(tmp) / "model"))
        prompts = _long_prompts(32 if quick else 96)
        return [_against_backbone("dump / backbone, random Gemma-2", folder, prompts, 3 if quick else 5, 0.85, 128)]


def bench_demo(quick: bool) -> list[Bar]:
    """The demo model on short prompts, compared with the backbone and with `run_with_cache` one at a time."""
    prompts = _short_prompts(400 if quick else 2000)
    bar = _against_backbone("dump / backbone, demo", str(model_dir()), prompts, 3 if quick else 5, 0.7)
    return [bar, _against_run_with_cache(prompts), _backends(prompts, 3 if quick else 5)]


def bench_memory(quick: bool) -> list[Bar]:
    """Peak memory of a dump of many prompts relative to few, at the same shard size."""
    few, many = (100, 1000) if quick else (400, 4000)
    peak = {n: _peak_memory(n) for n in (few, many)}
    ratio = peak[many] / peak[few]
    detail = f"{peak[many] / 1e6:.0f} MB with {many} prompts, {peak[few] / 1e6:.0f} MB with {few}"
    return [Bar("peak memory, many / few prompts", ratio, "<= 1.2", ratio <= 1.2, detail)]


def bench_help(quick: bool) -> list[Bar]:
    """Time of `--help`: at most three bare interpreter starts plus 0.2 s."""
    out = []
    for module in ("poc1_dump_activations", "poc2_analyze_run", "runs", "models"):
        commands = {"bare": ["-c", "pass"], "help": ["-m", f"neuron_signatures.{module}", "--help"]}
        actions = {key: lambda argv=argv: _python(argv) for key, argv in commands.items()}
        times = alternate(actions, 5 if quick else 15)
        bare, help_ = (statistics.median(times[k]) for k in ("bare", "help"))
        limit = 3 * bare + 0.2
        detail = f"{help_ * 1e3:.0f} ms, bare start {bare * 1e3:.0f} ms, limit {limit * 1e3:.0f} ms"
        out.append(Bar(f"--help of {module} / limit", help_ / limit, "<= 1", help_ <= limit, detail))
    return out


BENCHES: dict[str, Bench] = {
    "gemma2": bench_random_gemma2,
    "demo": bench_demo,
    "memory": bench_memory,
    "help": bench_help,
}


def _against_backbone(name: str, folder: str, prompts: list[str], repeats: int, bar: float, truncate: int = 0) -> Bar:
    model = load_model(ModelSpec(folder, dtype="fp32"))
    rates: dict[str, list[float]] = {"dump": [], "backbone": []}
    with tempfile.TemporaryDirectory() as tmp:
        for n in range(repeats + 1):
            plan = _plan(Path(tmp), f"run{n}", folder, prompts, truncate)
            dumped, plain = _dump_rate(plan, model), _backbone_rate(plan, model)
            if n:  # the first round warms up
                rates["dump"].append(dumped)
                rates["backbone"].append(plain)
    rounds = [a / b for a, b in zip(rates["dump"], rates["backbone"], strict=True)]
    ratio = statistics.median(rounds)
    detail = " and ".join(f"{k} {statistics.median(v):.0f} tokens/s" for k, v in rates.items())
    return Bar(name, ratio, f">= {bar}", ratio >= bar, f"{detail}; {spread(rounds)}")


def _against_run_with_cache(prompts: list[str]) -> Bar:
    folder = str(model_dir())
    spec = ModelSpec(folder, dtype="fp32")
    with tempfile.TemporaryDirectory() as tmp:
        plan = _plan(Path(tmp), "run", folder, prompts)
        dumped = _dump_rate(plan, load_model(spec))
        bridge = to_bridge(load_model(spec))
        names = [f"blocks.{layer}.mlp.hook_post" for layer in range(plan.info.layers)]

        def one_at_a_time() -> None:
            acts = {}
            for p in plan.prompts:
                with torch.no_grad():
                    _, cache = bridge.run_with_cache(torch.tensor([p.token_ids]), names_filter=names)
                acts[p.prompt.id] = torch.stack([cache[n][0] for n in names]).to(torch.bfloat16)
            torch.save(acts, Path(tmp) / "activations.pt")

        one = _n_tokens(plan) / timed(one_at_a_time)
    detail = f"dump {dumped:.0f} tokens/s, run_with_cache {one:.0f} tokens/s, {len(prompts)} prompts"
    return Bar("dump / run_with_cache one at a time, demo", dumped / one, ">= 5", dumped / one >= 5, detail)


def _backends(prompts: list[str], repeats: int) -> Bar:
    """A dump through transformers, relative to one through TransformerLens. For information: there is no bar."""
    rates: dict[Backend, list[float]] = {"transformers": [], "transformer_lens": []}
    with tempfile.TemporaryDirectory() as tmp:
        for n in range(repeats + 1):
            for backend in rates:
                plan = _plan(Path(tmp), f"{backend}{n}", str(model_dir()), prompts, backend=backend)
                rate = _dump_rate(plan, load_model(plan.config.model))
                if n:  # the first round warms up
                    rates[backend].append(rate)
    rounds = [a / b for a, b in zip(rates["transformers"], rates["transformer_lens"], strict=True)]
    detail = " and ".join(f"{k} {statistics.median(v):.0f} tokens/s" for k, v in rates.items())
    name, ratio = "dump, transformers / transformer_lens, demo", statistics.median(rounds)
    return Bar(name, ratio, "none", True, f"{detail}; {spread(rounds)}")


def _n_tokens(plan: DumpPlan) -> int:
    return sum(p.seq_len for p in plan.prompts)


def _dump_rate(plan: DumpPlan, model: LoadedModel) -> float:
    """Tokens per second from opening the folder to the finished manifest."""
    real = dump_module.load_model
    dump_module.load_model = lambda spec, quiet=False: model
    try:
        return dump_module.dump(plan, lambda tokens: Progress(tokens, quiet=True)).tokens_per_second
    finally:
        dump_module.load_model = real


def _backbone_rate(plan: DumpPlan, model: LoadedModel) -> float:
    """Tokens per second of the decoder alone, over the batches of the dump."""
    max_tokens = fitted_batch_tokens(model, plan.info.layers, plan.info.d_mlp, "bf16")
    batches = [
        pad_batch([plan.prompts[i].token_ids for i in batch], device=model.device)
        for batch in plan_batches([p.seq_len for p in plan.prompts], max_tokens=max_tokens, max_prompts=None)
    ]
    body = backbone(model.hf)

    def forward() -> None:
        with torch.inference_mode():
            for b in batches:
                body(input_ids=b.input_ids, attention_mask=b.attention_mask, use_cache=False)
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return _n_tokens(plan) / timed(forward)


def _plan(
    tmp: Path, name: str, folder: str, prompts: list[str], truncate: int = 0, backend: Backend = "transformers"
) -> DumpPlan:
    path = tmp / "prompts.json"
    path.write_text(json.dumps([{"id": f"p{i}", "text": t} for i, t in enumerate(prompts)]))
    config = DumpConfig(
        model=ModelSpec(folder, dtype="fp32"), backend=backend, prompts_json=path, single_prompt=None,
        out_dir=tmp / name, save_dtype="bf16", save_format="safetensors", shard_bytes=512_000_000, bos="prepend",
        batch_size=None, layers=None, limit=None, truncate=truncate, seed=0, check_finite=False, resume=False,
        overwrite=False, quiet=True, flags_given=(),
    )  # fmt: skip
    return plan_dump(config, read_prompts(path, None, limit=None))


def _long_prompts(n: int) -> list[str]:
    """Random digits, with more tokens than the truncation keeps."""
    rng = random.Random(0)
    return [" ".join(str(rng.randrange(10)) for _ in range(400)) for _ in range(n)]


def _short_prompts(n: int) -> list[str]:
    """Documents of the demo world, at most 80 characters."""
    out: list[str] = []
    for document in documents(seed=1, n=20 * n):
        if len(document.text) <= 80:
            out.append(document.text)
        if len(out) == n:
            break
    return out


def _peak_memory(n_prompts: int) -> int:
    """Peak resident bytes of a dump in a separate process, with shards of 2 MB."""
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "prompts.json"
        path.write_text(json.dumps([{"id": f"p{i}", "text": t} for i, t in enumerate(_short_prompts(n_prompts))]))
        argv = ["--model_name", "demo", "--model_dtype", "fp32", "--prompts_json", str(path), "--shard_size", "2MB"]
        code = "import sys; from neuron_signatures.poc1_dump_activations import main; main(sys.argv[1:])"
        return peak_memory(code, *argv, "--out_dir", f"{tmp}/run", "--quiet", "--json")


def _python(argv: list[str]) -> None:
    subprocess.run([sys.executable, *argv], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(run_benches(__doc__, BENCHES))
