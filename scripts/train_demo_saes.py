"""Train the sparse autoencoders of the demo model: residual stream, attention and MLP of every layer.

Reads   the demo model, and documents of `neuron_signatures.demo.world` (other ones than the model was trained on).
Writes  OUT/SITE_LN/{cfg.json,sae_weights.safetensors}, which sae-lens loads too, and OUT/training.json with their
        quality on held-out documents.
Run     python scripts/train_demo_saes.py            the shipped files; docs/skills.md has the time
        python scripts/train_demo_saes.py --eval_only

All SAEs train together on the same tokens. An SAE keeps, on average, the K largest features per token (batch top-k,
Bussmann et al. 2024, arXiv:2412.06410): features count above a threshold that follows the batches. It is saved with
that threshold as a JumpReLU SAE (Rajamanoharan et al. 2024, arXiv:2407.14435). The first position, BOS, is left out.
"""

import argparse
import itertools
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuron_signatures.demo import saes_dir
from neuron_signatures.demo.world import SKILLS, documents
from neuron_signatures.models.capture import pad_batch
from neuron_signatures.models.load import LoadedModel, bridge_beside, load_model
from neuron_signatures.models.saes.fit import SaeModel, sae_model_of
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.quality import QualityMeter, SaeQuality
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.files import whole_file, write_text
from neuron_signatures.runs.safetensors_out import write_safetensors
from neuron_signatures.runs.skills.banks import SAE_SITES, Site

HOOKS: dict[Site, str] = {
    "res": "blocks.{}.hook_resid_post",
    "att": "blocks.{}.attn.hook_z",
    "mlp": "blocks.{}.hook_mlp_out",
}
CONTEXT = 256
# Seeds of the documents: the model was trained on those of seed 0.
TRAIN_DOCUMENTS, HELD_OUT_DOCUMENTS = 1001, 2002
DOCUMENTS_PER_FORWARD = 64
# Tokens are drawn from this many, so that a batch mixes many documents.
BUFFER = 16_384
FOR_SCALE = 16_384
# Tokens of a batch that give the threshold; more are slower and change it by less than a percent.
FOR_THRESHOLD = 64
FOLLOW = 0.05  # weight of a batch in the running threshold


@dataclass(frozen=True)
class Config:
    """The settings that determine the result. `k` is the mean number of features per token, by site."""

    seed: int
    steps: int
    threads: int
    features: int
    k_res: int
    k_att: int
    k_mlp: int
    batch: int = 512
    lr: float = 2e-3
    warmup: int = 100
    resample_every: int = 250
    """Features without a single token in so many steps start again from badly reconstructed tokens..."""
    resample_until: float = 0.6
    """... in this first part of the steps."""

    def k(self, site: Site) -> int:
        return {"res": self.k_res, "att": self.k_att, "mlp": self.k_mlp}[site]


class Place(NamedTuple):
    site: Site
    layer: int

    @property
    def folder(self) -> str:
        return f"{self.site}_L{self.layer}"


@dataclass
class Stack:
    """The SAEs of all places in one tensor per weight, for activations (x - centre) / scale."""

    centre: Tensor  # [sae, d_in]
    scale: Tensor  # [sae]
    W_enc: Tensor  # [sae, d_in, feature]
    b_enc: Tensor  # [sae, 1, feature]
    W_dec: Tensor  # [sae, feature, d_in], rows of norm 1
    b_dec: Tensor  # [sae, 1, d_in]
    threshold: Tensor  # [sae, 1, 1]

    def parameters(self) -> list[Tensor]:
        return [self.W_enc, self.b_enc, self.W_dec, self.b_dec]

    def normalised(self, x: Tensor) -> Tensor:
        """Activations [sae, token, d_in] with mean 0 and, per coordinate, mean square 1."""
        return (x - self.centre[:, None]) / self.scale[:, None, None]

    def pre(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.b_enc, x - self.b_dec, self.W_enc).relu()

    def decode(self, f: Tensor) -> Tensor:
        return torch.baddbmm(self.b_dec, f, self.W_dec)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    config = Config(args.seed, args.steps, args.threads, args.features, args.k_res, args.k_att, args.k_mlp)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(config.seed)
    model = load_model(ModelSpec("demo", dtype="fp32", device="cpu"))
    shape = sae_model_of(model)
    reader = Reader(model, [Place(site, layer) for site in SAE_SITES for layer in range(shape.n_layers)])
    if not args.eval_only:
        started = time.monotonic(), time.process_time()
        stack = train(reader, config)
        save(stack, reader.places, args.out)
        write_record(config, started, args.out)
    evaluate(reader, shape, args.out, args.eval_documents)
    return 0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=saes_dir(), help="folder to write into")
    parser.add_argument("--steps", type=int, default=1800, help="of 512 tokens")
    parser.add_argument("--seed", type=int, default=0)
    # On a shared machine with two cores, two threads wait for each other and are slower than one.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features", type=int, default=512, help="per SAE")
    parser.add_argument("--k_res", type=int, default=20, help="mean number of active features per token, residual")
    parser.add_argument("--k_att", type=int, default=16, help="the same, attention")
    parser.add_argument("--k_mlp", type=int, default=16, help="the same, MLP")
    parser.add_argument("--eval_documents", type=int, default=4000, help="held-out documents")
    parser.add_argument("--eval_only", action="store_true", help="only measure the SAEs in OUT")
    return parser.parse_args(argv)


class Reader:
    """Activations of the demo model at the hooks of all SAEs, without BOS and padding."""

    def __init__(self, model: LoadedModel, places: list[Place]) -> None:
        self.places = places
        self.tokenizer = model.tokenizer
        self._bridge = bridge_beside(model)
        self._last = f"blocks.{max(place.layer for place in places)}.hook_resid_post"

    @torch.inference_mode()
    def activations(self, texts: list[str]) -> Tensor:
        """Activations [sae, token, d_in] of every token but BOS, text by text."""
        rows = self.tokenizer(texts, truncation=True, max_length=CONTEXT)["input_ids"]
        batch = pad_batch(rows, device=torch.device("cpu"))
        keep = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask.clone()
        keep[:, 0] = 0
        kept: dict[int, Tensor] = {}

        def hook(row: int) -> Any:
            def take(x: Tensor, hook: Any) -> None:
                kept[row] = x.flatten(2)[keep.bool()]  # the heads of hook_z together

            return take

        hooks = [(HOOKS[site].format(layer), hook(row)) for row, (site, layer) in enumerate(self.places)]
        with self._bridge.hooks(fwd_hooks=hooks):
            self._bridge(batch.input_ids, return_type=None, use_cache=False)
        return torch.stack([kept[row] for row in range(len(self.places))])


def texts(seed: int) -> Iterator[str]:
    """Documents of the four skills in turn, so that each has a quarter."""
    streams = [documents(seed, skill=skill) for skill in SKILLS]
    return (document.text for some in zip(*streams, strict=True) for document in some)


def chunks(reader: Reader, stream: Iterator[str]) -> Iterator[Tensor]:
    """Activations [sae, token, d_in] of documents of about the same length, so that little is padding."""
    while some := list(itertools.islice(stream, 8 * DOCUMENTS_PER_FORWARD)):
        some.sort(key=len)
        groups = [some[i : i + DOCUMENTS_PER_FORWARD] for i in range(0, len(some), DOCUMENTS_PER_FORWARD)]
        random.Random(some[0]).shuffle(groups)
        yield from map(reader.activations, groups)


def batches(reader: Reader, config: Config) -> Iterator[Tensor]:
    """Random tokens [sae, batch, d_in], forever: all of a buffer, then half of it is replaced by new ones.

    So a token is used twice on average, which costs less than twice as many forward passes.
    """
    generator = torch.Generator().manual_seed(config.seed)
    source = chunks(reader, texts(TRAIN_DOCUMENTS + config.seed))
    buffer = next(source)
    while True:
        new = [buffer]
        while sum(part.shape[1] for part in new) < BUFFER:
            new.append(next(source))
        joined = torch.cat(new, dim=1)
        order = torch.randperm(joined.shape[1], generator=generator)
        for part in order[: BUFFER // config.batch * config.batch].split(config.batch):
            yield joined[:, part]
        buffer = joined[:, torch.randperm(joined.shape[1], generator=generator)[: BUFFER // 2]]


def start(reader: Reader, config: Config) -> Stack:
    """Random unit decoders with the encoder as their transpose; centre and scale from the first tokens."""
    first, n = [], 0
    for x in chunks(reader, texts(TRAIN_DOCUMENTS + config.seed)):
        first.append(x)
        n += x.shape[1]
        if n >= FOR_SCALE:
            break
    x = torch.cat(first, dim=1)
    centre = x.mean(1)
    scale = (x - centre[:, None]).square().mean((1, 2)).sqrt()
    n_saes, _, d_in = x.shape
    W_dec = torch.randn(n_saes, config.features, d_in)
    W_dec /= W_dec.norm(dim=-1, keepdim=True)
    return Stack(
        centre,
        scale,
        W_dec.transpose(1, 2).clone(),
        torch.zeros(n_saes, 1, config.features),
        W_dec,
        torch.zeros(n_saes, 1, d_in),
        torch.zeros(n_saes, 1, 1),
    )


def train(reader: Reader, config: Config) -> Stack:
    stack = start(reader, config)
    ks = torch.tensor([config.k(place.site) for place in reader.places])
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(stack.parameters(), lr=config.lr, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, config))
    fired = torch.zeros(len(reader.places), config.features)
    report_every, begun = max(1, config.steps // 30), time.monotonic()
    for step, raw in enumerate(itertools.islice(batches(reader, config), config.steps), 1):
        x = stack.normalised(raw)
        pre = stack.pre(x)
        follow(stack, pre.detach(), ks, first=step == 1)
        f = pre * (pre > stack.threshold)
        error = stack.decode(f) - x
        loss = error.square().mean((1, 2))
        optimizer.zero_grad()
        loss.sum().backward()
        without_growth(stack)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            stack.W_dec /= stack.W_dec.norm(dim=-1, keepdim=True)
            fired += (f.detach() > 0).sum(1)
        if step % config.resample_every == 0:
            if step <= config.resample_until * config.steps:
                resample(stack, optimizer, x, error.detach(), fired == 0)
            dead, fired = (fired == 0).float().mean(1), torch.zeros_like(fired)
            log_state("dead", dead, reader.places)
        if step % report_every == 0:
            l0 = (f.detach() > 0).sum(-1).float().mean()
            log(f"step {step} L0 {l0:.1f} {time.monotonic() - begun:.0f} s")
            log_state("FVU", loss.detach(), reader.places)
    return stack


def rate(step: int, config: Config) -> float:
    """Factor of the learning rate: warm-up, constant, then linear decay to 0 over the last 40 percent."""
    return min((step + 1) / config.warmup, 1.0, (config.steps - step) / (0.4 * config.steps))


@torch.no_grad()
def follow(stack: Stack, pre: Tensor, ks: Tensor, *, first: bool) -> None:
    """Move each threshold towards the one that keeps k features per token of this batch."""
    some = pre[:, :FOR_THRESHOLD].flatten(1).sort(dim=1, descending=True).values
    now = some.gather(1, ks[:, None] * FOR_THRESHOLD)[..., None]
    stack.threshold = now if first else torch.lerp(stack.threshold, now, FOLLOW)


@torch.no_grad()
def without_growth(stack: Stack) -> None:
    """Remove the part of the decoder's gradient along its rows, whose norm stays 1."""
    assert stack.W_dec.grad is not None
    stack.W_dec.grad -= (stack.W_dec.grad * stack.W_dec).sum(-1, keepdim=True) * stack.W_dec


@torch.no_grad()
def resample(stack: Stack, optimizer: torch.optim.Adam, x: Tensor, error: Tensor, dead: Tensor) -> None:
    """Point dead features at tokens drawn with a probability that grows with their error (Bricken et al. 2023)."""
    for sae in dead.any(1).nonzero().flatten().tolist():
        features = dead[sae].nonzero().flatten()
        weights = error[sae].square().sum(-1).square()
        tokens = torch.multinomial(weights, len(features), replacement=len(features) > len(weights))
        rows = -error[sae, tokens]  # what the reconstruction lacks
        rows = rows / rows.norm(dim=-1, keepdim=True)
        stack.W_dec[sae, features] = rows
        stack.W_enc[sae, :, features] = rows.T
        # just above the threshold on their token
        there = ((x[sae, tokens] - stack.b_dec[sae]) * rows).sum(-1)
        stack.b_enc[sae, 0, features] = 1.2 * stack.threshold[sae, 0, 0] - there
        for parameter in (stack.W_enc, stack.b_enc, stack.W_dec):
            for moment in ("exp_avg", "exp_avg_sq"):
                state = optimizer.state[parameter][moment][sae]
                if parameter is stack.W_dec:
                    state[features] = 0
                else:
                    state[..., features] = 0


@torch.no_grad()
def save(stack: Stack, places: list[Place], out: Path) -> None:
    """Write the SAEs for raw activations: centre and scale are in the weights. Matrices are stored as float16."""
    for row, place in enumerate(places):
        scale, W_enc, W_dec = stack.scale[row], stack.W_enc[row].half(), stack.W_dec[row].half()
        b_dec = stack.centre[row] + scale * stack.b_dec[row, 0]
        tensors = {
            "W_enc": W_enc,
            "b_enc": scale * stack.b_enc[row, 0] - b_dec @ W_enc.float(),
            "W_dec": W_dec,
            "b_dec": b_dec,
            "threshold": (scale * stack.threshold[row, 0, 0]).repeat(W_enc.shape[1]),
        }
        folder = out / place.folder
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder, "sae_weights.safetensors") as file:
            write_safetensors(file, {key: t.detach().contiguous() for key, t in tensors.items()})
        d_in, d_sae = W_enc.shape
        write_text(folder, "cfg.json", json.dumps(settings(place, d_in, d_sae), indent=1) + "\n")


def settings(place: Place, d_in: int, d_sae: int) -> dict[str, Any]:
    """The cfg.json of sae-lens 6. `dtype` is of the computation; the file has float16 for the matrices."""
    return {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if place.site == "att" else "none",
        "metadata": {
            "sae_lens_version": "6.54.0",
            "model_name": "demo",
            "hook_name": HOOKS[place.site].format(place.layer),
            "prepend_bos": True,
            "context_size": CONTEXT,
            "dataset_path": "neuron_signatures.demo.world",
        },
    }


def write_record(config: Config, started: tuple[float, float], out: Path) -> None:
    record = {
        **asdict(config),
        "tokens_seen": config.steps * config.batch,
        "wall_seconds": round(time.monotonic() - started[0], 1),
        "cpu_seconds": round(time.process_time() - started[1], 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    write_text(out, "training.json", json.dumps(record, indent=1) + "\n")


def evaluate(reader: Reader, shape: SaeModel, out: Path, n_documents: int) -> None:
    """Quality on documents that no SAE has seen, into training.json and as a table on stdout."""
    saes = [source.load("cpu") for source in saes_of(str(out), model=shape)]
    rows = {place: row for row, place in enumerate(reader.places)}
    meters = [QualityMeter(sae) for sae in saes]
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    n_seen = record["tokens_seen"] // 8  # more documents than were used
    seen = set(itertools.islice(texts(TRAIN_DOCUMENTS + record["seed"]), n_seen))
    held_out = (text for text in texts(HELD_OUT_DOCUMENTS + record["seed"]) if text not in seen)
    for x in chunks(reader, itertools.islice(held_out, n_documents)):
        for sae, meter in zip(saes, meters, strict=True):
            meter.add(x[rows[Place(sae.site, sae.layer)]])
    record["quality"] = {sae.name: asdict(meter.result()) for sae, meter in zip(saes, meters, strict=True)}
    write_text(out, "training.json", json.dumps(record, indent=1) + "\n")
    print("| SAE | features | L0 | FVU | dead |\n|---|---|---|---|---|")
    for sae, meter in zip(saes, meters, strict=True):
        print(table_row(sae.name, sae.d_sae, meter.result()))


def table_row(name: str, d_sae: int, quality: SaeQuality) -> str:
    return f"| {name} | {d_sae} | {quality.l0:.1f} | {quality.fvu:.3f} | {100 * quality.dead_share:.1f} % |"


def log_state(name: str, values: Tensor, places: list[Place]) -> None:
    log(f"  {name} " + " ".join(f"{p.folder} {v:.3f}" for p, v in zip(places, values.tolist(), strict=True)))


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
